//! `kind: pretrain`: a base model from token shards, with a forecast before it and a score after it.
//!
//! Inputs: `tokens`, `tokenizer`, and `law` where the size, the token count or a forecast comes from it. Output: a model folder in Hugging
//! Face's layout with `training.json`.

mod error;
pub mod handover;
pub mod job;
mod resolve;
mod samples;
mod self_test;

pub use error::PretrainError;
