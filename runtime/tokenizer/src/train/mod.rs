//! Text to a vocabulary.
//!
//! 1. [`Census`]: texts are cut into pieces, which no token crosses, and the pieces are counted, on all threads and beyond memory's limit on disk.
//! 2. [`TokenizerAlgorithm`]: how tokens are chosen. [`train_bpe`] makes the most frequent pairs tokens; [`crate::unigram`] keeps the tokens that make the text
//!    most likely; bytes alone need no choice. [`Learned`] is what any of them made.
//!
//! Counts have 64 bits and are exact. The result depends on the counts alone: neither on the number of threads nor on the order or the batches of
//! the texts. Special tokens come first, then the 256 bytes, so that no text is ever unknown.

mod algorithm;
mod bpe;
mod census;
mod count;
mod error;
mod pairs;
mod runs;
#[cfg(test)]
mod tests;
mod words;

pub use self::algorithm::Learned;
pub(crate) use self::bpe::bytes_in_order;
pub use self::bpe::{Ended, Trained, train_bpe};
pub use self::census::{Census, CensusLimits, PieceCounts, Pieces, Tally};
pub use self::error::TrainError;

use cupola_specs::job::TokenizerAlgorithm;

use crate::Splitter;
use crate::unigram::{UnigramSettings, train_unigram};

/// The most tokens of a vocabulary: ids have 31 bits, the pairs of a text fewer.
const MOST_TOKENS: usize = 1 << 24;

/// What training takes in memory for each byte of a different piece and for each such piece, in bytes: a cell or a suffix, the places of pairs as they
/// arise, and the part of the tables.
const MEMORY_PER_BYTE: u64 = 48;

/// What a vocabulary has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainerSettings {
    /// Tokens at most, special tokens and bytes included.
    pub vocab_size: usize,
    /// Spellings of the special tokens, which have the first ids.
    pub specials: Vec<String>,
    /// How often a pair has to stand in the text to become a token. Two: what stands there once is no pattern.
    pub min_frequency: u64,
    /// Bytes of the longest token, if there is a limit.
    pub max_token_bytes: Option<usize>,
}

impl TrainerSettings {
    /// A vocabulary of a size, with special tokens, of pairs that stand at least twice.
    pub fn new(vocab_size: usize, specials: &[String]) -> Self {
        Self { vocab_size, specials: specials.to_vec(), min_frequency: 2, max_token_bytes: None }
    }

    /// Whether there can be such a vocabulary.
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        let (specials, asked) = (self.specials.len(), self.vocab_size);
        let least = specials + 256;
        if asked < least {
            return Err(TrainError::TooSmall { asked, specials, least });
        }
        if asked > MOST_TOKENS {
            return Err(TrainError::TooLarge { asked, most: MOST_TOKENS });
        }
        if self.max_token_bytes == Some(0) {
            return Err(TrainError::Limit { field: "max_token_bytes", given: 0, least: 1, most: u64::MAX });
        }
        let mut seen = std::collections::HashSet::new();
        for text in &self.specials {
            let why = match text.len() {
                0 => "empty",
                1 => "a single byte, which is a token already",
                _ if !seen.insert(text) => "given twice",
                _ => continue,
            };
            return Err(TrainError::Special { text: text.clone(), why });
        }
        Ok(())
    }
}

impl Pieces for &Splitter {
    fn for_each_piece(&self, text: &str, mut each: impl FnMut(&str)) {
        self.pieces(text, &mut each);
    }
}

/// Counts the pieces of texts and makes a vocabulary of them: [`Census`] and [`train_bpe`] in one.
#[derive(Debug)]
pub struct Trainer<P> {
    settings: TrainerSettings,
    census: Census<P>,
}

impl<P: Pieces> Trainer<P> {
    /// A trainer that cuts text as `pieces` does.
    ///
    /// # Errors
    /// [`TrainError::TooSmall`], [`TrainError::TooLarge`], [`TrainError::Special`], [`TrainError::Limit`]: before any text is read.
    pub fn new(settings: TrainerSettings, pieces: P, limits: CensusLimits) -> Result<Self, TrainError> {
        settings.check()?;
        Ok(Self { settings, census: Census::new(pieces, limits)? })
    }

    /// Counts one text on this thread.
    ///
    /// # Errors
    /// [`TrainError::Spill`].
    pub fn add_text(&mut self, text: &str) -> Result<(), TrainError> {
        self.census.add_text(text)
    }

    /// Counts texts on all threads.
    ///
    /// # Errors
    /// [`TrainError::Spill`].
    pub fn add_texts<T: AsRef<str> + Sync>(&mut self, texts: &[T]) -> Result<(), TrainError> {
        self.census.add_texts(texts)
    }

    /// Byte-pair encoding of what was counted. `progress` hears after each merge how many tokens there are.
    ///
    /// # Errors
    /// [`TrainError::Spill`], [`TrainError::Incomplete`], [`TrainError::Empty`].
    pub fn train(self, progress: &mut dyn FnMut(usize)) -> Result<Trained, TrainError> {
        let (pieces, settings) = self.into_counts()?;
        train_bpe(&pieces, &settings, progress)
    }

    /// What an algorithm makes of what was counted. `unigram` is for that algorithm alone. `progress` hears after each step how many tokens there are.
    ///
    /// # Errors
    /// [`TrainError::Spill`], [`TrainError::Incomplete`], [`TrainError::Empty`], [`TrainError::Limit`].
    pub fn train_with(
        self,
        algorithm: TokenizerAlgorithm,
        unigram: &UnigramSettings,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Learned, TrainError> {
        let (pieces, settings) = self.into_counts()?;
        match algorithm {
            TokenizerAlgorithm::Bpe => train_bpe(&pieces, &settings, progress).map(Learned::Bpe),
            TokenizerAlgorithm::Unigram => {
                train_unigram(&pieces, &settings, unigram, progress).map(Learned::Unigram)
            }
            TokenizerAlgorithm::Bytes => Ok(Learned::Bytes(Trained::bytes_only(&settings, pieces.tally()))),
        }
    }

    /// The counts and the settings, to train on them more than once.
    ///
    /// # Errors
    /// [`TrainError::Spill`], [`TrainError::Incomplete`].
    pub fn into_counts(self) -> Result<(PieceCounts, TrainerSettings), TrainError> {
        Ok((self.census.finish()?, self.settings))
    }
}
