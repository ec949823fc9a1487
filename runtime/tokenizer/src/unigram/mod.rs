//! The Unigram language model: a text's tokens are drawn one by one, each with its own probability, and a piece is cut in the most likely way.
//!
//! Kudo, "Subword Regularization" (2018, arXiv:1804.10959). Where byte-pair encoding grows tokens from pairs, this begins with all frequent substrings
//! and takes away what costs least; a token is then there for what it is worth and not as the step to another one.
//!
//! * [`train_unigram`]: counts of pieces to a model.
//! * [`Unigram`]: a piece to ids, in linear time.
//! * [`UnigramJson`]: `tokenizer.json` with a model of type `Unigram`, read and written; the ids are those of Hugging Face's `tokenizers`.
//!
//! All of it is over bytes, each of which is a token, so that no text is ever unknown. Training gives the same model for any number of threads.

mod file;
mod lattice;
mod model;
mod seed;
#[cfg(test)]
mod tests;
mod trainer;
mod trie;

pub use self::file::UnigramJson;
pub use self::lattice::Viterbi;
pub use self::model::{Unigram, UnigramError};
pub use self::trainer::{UnigramSettings, UnigramTrained, train_unigram};
