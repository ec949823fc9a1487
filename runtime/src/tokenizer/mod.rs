//! `kind: tokenizer`: tokens over bytes and the chat template, one artifact.
//!
//! By default byte-pair encoding over bytes: Sennrich et al., Neural Machine Translation of Rare Words with Subword Units (2015,
//! arXiv:1508.07909), on bytes as in GPT-2. The files are a Hugging Face folder, and the ids are those that the `tokenizers`
//! library gives for the same files, on any text: the trainer breaks ties as that library does, the splitter reads the same
//! regexes, the encoder applies the same merges. `algorithm: unigram` and `bytes` are the alternatives, in the same files.
//!
//! The engine of text to ids, its training, and `tokenizer.json` are the crate `cupola-tokenizer`'s. Here is what joins them with a plan:
//!
//! * `file`: the Hugging Face files, read and written; `tiktoken`: `.tiktoken` files; `gguf`: the same as facts of a GGUF file.
//! * [`Tokenizer`]: text to ids and back; [`Encoder`] is its bulk form with a cache.
//! * [`ChatTemplate`]: chats to text and to ids with the mask of what is trained on.
//! * [`job`] trains, [`encode_job`] encodes a corpus.
//!
//! Invariants: `decode(encode(text)) == text` for every text; a special token in the ids comes from the template or from a
//! caller that asked for it, never from a message's text.

mod chat;
mod codec;
pub mod encode_job;
mod error;
mod file;
mod gguf;
mod jinja;
pub mod job;
mod tiktoken;

pub use chat::{ChatTemplate, EncodedChat};
pub use codec::Tokenizer;
pub use cupola_tokenizer::{AddedToken, Encoder};
pub use error::TokenizerError;
pub(crate) use gguf::facts as gguf_facts;
pub(crate) use job::statistics as corpus_statistics;
