//! Models in one file for llama.cpp: ggml's GGUF, written and read.
//!
//! | class | architecture there |
//! |---|---|
//! | Llama, Mistral without a window | `llama` |
//! | Qwen2, Qwen3, Arcee, GPT-2 | `qwen2`, `qwen3`, `arcee`, `gpt2` |
//!
//! What llama.cpp would compute otherwise is refused by name: sliding windows, nanochat's parts, RoPE's `dynamic` stretch, pre-token patterns that it
//! only approximates. Vectors stay in fp32. Matrices have the type that was asked for; under `q4_0` embeddings and head have `q8_0`, as llama.cpp's
//! own quantiser keeps them finer too, and a matrix whose rows are no whole blocks is kept in f16.

mod container;
mod error;
mod export;
mod facts;
mod import;
mod names;
mod quantize;

pub(crate) use container::{Fact, Gguf};
pub use error::GgufError;
pub(crate) use export::export_gguf;
pub(super) use import::{read_shape, weights};
pub(crate) use quantize::BlockType;

#[cfg(test)]
mod tests;
