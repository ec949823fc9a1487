//! Errors of GGUF files.

use std::path::PathBuf;

use crate::job::ErrorFacts;

/// An error of a GGUF file.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// What is no whole file.
    #[error("{path}: no whole GGUF file: {message}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A tensor in a type that is not read.
    #[error("{path}: tensor {name} is of ggml's type {got}: expected {expected}")]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// ggml's number of its type.
        got: u32,
        /// The types that are read.
        expected: &'static str,
    },
    /// What llama.cpp has no architecture for, or would compute otherwise.
    #[error("GGUF has no place for {what}: llama.cpp would compute something else")]
    NoPlace {
        /// The part.
        what: String,
    },
}

impl GgufError {
    /// Class, code and hint.
    pub fn facts(&self) -> ErrorFacts {
        match self {
            Self::Broken { .. } => ErrorFacts::user("gguf_broken", "fetch or export the file again"),
            Self::Type { .. } => {
                ErrorFacts::user("gguf_type", "take a file of Q8_0, Q4_0, BF16, F16 or F32 of the same model")
            }
            Self::NoPlace { .. } => ErrorFacts::user(
                "gguf_no_place",
                "export it with --format huggingface, or serve it with `cupola serve`",
            ),
        }
    }
}
