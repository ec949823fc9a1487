//! Text to token ids and back: splitters, byte-pair encoding and Unigram, their training and their files; without the frame of a step.
//!
//! Byte-pair encoding over bytes: Sennrich et al., Neural Machine Translation of Rare Words with Subword Units (2015, arXiv:1508.07909), on bytes
//! as in GPT-2, so that no text is ever unknown. The ids are those that Hugging Face's `tokenizers` and OpenAI's tiktoken give for the same files.
//!
//! * [`Splitter`]: text to pieces; no token crosses a piece's end.
//! * [`Vocabulary`]: tokens and merges, as training makes them and files hold them.
//! * [`Bpe`] and [`unigram`]: a piece to ids, [`PieceModel`] by either; [`Encoding`]: a text to ids and back; [`Encoder`]: its bulk form with a cache, one for each thread.
//! * [`TokenizerFile`], and [`Ranks`] with a [`TiktokenFrame`]: `tokenizer.json` and `.tiktoken` files.
//! * [`TextStream`]: bytes of tokens to text as it becomes sure.
//! * [`train`]: text to tokens, by byte-pair encoding, Unigram or bytes alone; [`unigram`]: that model and its encoder.
//! * [`report`]: what a tokenizer makes of text that it was not trained on.
//!
//! Invariants: `decode(encode(text)) == text` for every text, and the work of encoding grows with n log n at most, whatever the text. Nothing here panics on any input.

#![allow(
    clippy::inline_always,
    reason = "the loop over a text's pieces has to be one function: a call for each piece costs as much as its work"
)]

mod bpe;
mod bytes;
mod encoding;
mod error;
mod files;
mod model;
pub mod report;
mod split;
mod stream;
pub mod train;
pub mod unigram;
mod vocabulary;

pub use bpe::{Bpe, Encoder};
pub use bytes::{byte_chars, spell, unspell};
pub use encoding::Encoding;
pub use error::EngineError;
pub use files::{AddedToken, Ranks, SpellingIds, TiktokenFrame, TokenizerFile, TokenizerJson, merge_of};
pub use model::{PieceModel, Room};
pub use split::{Splitter, check_portable, patterns_of};
pub use stream::TextStream;
pub use vocabulary::Vocabulary;
