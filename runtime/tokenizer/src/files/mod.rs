//! The files of tokenizers, read and written: what is in them of pieces, tokens and merges.

mod file;
mod tiktoken;
mod tiktoken_frame;
mod tokenizer_json;

pub use file::TokenizerFile;
pub use tiktoken::Ranks;
pub use tiktoken_frame::TiktokenFrame;
pub use tokenizer_json::{AddedToken, SpellingIds, TokenizerJson, merge_of};
