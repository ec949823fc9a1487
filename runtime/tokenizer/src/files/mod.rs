//! The files of tokenizers, read and written: what is in them of pieces, tokens and merges.

mod tiktoken;
mod tokenizer_json;

pub use tiktoken::Ranks;
pub use tokenizer_json::{AddedToken, SpellingIds, TokenizerJson, merge_of};
