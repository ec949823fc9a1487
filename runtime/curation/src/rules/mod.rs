//! The one-pass rule engine: one tokenisation and one set of counters for each document feed every rule.
//!
//! Rule sets: Gopher's quality and repetition rules (2021, arXiv:2112.11446), C4's (2019, arXiv:1910.10683), FineWeb's (2024,
//! arXiv:2406.17557), RefinedWeb's line rules (2023, arXiv:2306.01116), rules for source code, and expressions of the user's own.
//! Definitions are those of datatrove 0.10.1; [`Words`] says what a word is.
//!
//! * [`Ruleset::judge`] measures a document, takes out the lines that line rules drop, and says which rule drops it.
//! * [`Signals`] are all its values. [`Ruleset::judge_signals`] judges them again, without the text.
//! * [`Preset`] names published sets. [`WordList`] and [`WordFilter`] look for words.
//!
//! Work is linear in the text; tables are kept in a [`Scratch`], one for each thread. Everything follows from text and thresholds.

mod c4;
#[allow(clippy::unreadable_literal, reason = "code points have no thousands")]
mod char_tables;
mod chars;
mod checks;
mod code;
mod counters;
mod edit;
mod error;
mod lines;
mod ngrams;
mod presets;
mod refinedweb;
mod ruleset;
mod scan;
mod sentences;
mod signals;
mod spacy;
mod spacy_address;
mod spacy_affixes;
mod table;
#[cfg(test)]
mod tests;
mod word_list;
mod words;

pub use checks::Dropped;
pub use counters::Scratch;
pub use cupola_specs::job::{SIGNALS, Signal};
pub use edit::Removed;
pub use error::RulesError;
pub use presets::Preset;
pub use ruleset::{Judged, Ruleset};
pub use signals::Signals;
pub use word_list::{WordDrop, WordFilter, WordHits, WordList};
pub use words::Words;
