//! Why there is no vocabulary.

use std::io;
use std::path::PathBuf;

/// A vocabulary that can't be trained as it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The bytes and the special tokens alone are more than the vocabulary may hold.
    #[error(
        "vocab_size is {asked}, but the 256 bytes and {specials} special tokens need {least}: ask for at least {least}"
    )]
    TooSmall {
        /// `vocab_size` as given.
        asked: usize,
        /// Special tokens.
        specials: usize,
        /// The smallest size that holds them.
        least: usize,
    },
    /// A token's number has to fit in 31 bits.
    #[error("vocab_size is {asked}; the most is {most}")]
    TooLarge {
        /// `vocab_size` as given.
        asked: usize,
        /// The largest size.
        most: usize,
    },
    /// A special token that can't be one.
    #[error("the special token {text:?} is {why}: give each special token once, and some text to it")]
    Special {
        /// Its spelling.
        text: String,
        /// `empty`, `given twice` or `a single byte, which is a token already`.
        why: &'static str,
    },
    /// A limit that leaves nothing to work with, or more than there can be.
    #[error("{field} is {given}: give a number from {least} to {most}")]
    Limit {
        /// The field of the settings.
        field: &'static str,
        /// What it is.
        given: u64,
        /// What it may be at least.
        least: u64,
        /// What it may be at most.
        most: u64,
    },
    /// No text, or none that has a piece.
    #[error("the text to train on is empty: check that the corpus has documents")]
    Empty,
    /// An earlier call failed, so that texts are missing from the counts, or stand there twice.
    #[error(
        "counting stopped at an earlier error, so the counts are not those of the text: start again with a new census"
    )]
    Incomplete,
    /// A run of counts could not be written or read back.
    #[error("counts of pieces could not be kept in {}, {doing}: {source}; free some space there, name another folder, or raise max_memory_bytes", folder.display())]
    Spill {
        /// Where runs lie.
        folder: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}
