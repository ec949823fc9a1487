//! `kind: tokenizer`: byte-level BPE and the chat template, one artifact.

mod chat;
mod codec;
pub mod encode_job;
mod error;
pub mod job;

pub use chat::{ChatTemplate, EncodedChat};
pub use codec::Tokenizer;
pub use error::TokenizerError;
