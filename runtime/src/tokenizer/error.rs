//! Errors of the tokenizer room.

use std::path::PathBuf;

use cupola_specs::contract::ErrorClass;

use crate::data::DataError;
use crate::job::{JobError, StepError};

/// An error of training, loading or using a tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The frame failed.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The corpus could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A tokenizer file holds something that this encoder does not carry out.
    #[error("{path}: {field}: expected {expected}, got {got}")]
    File {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What the encoder carries out.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// A parameter makes no sense.
    #[error("{field}: expected {expected}, got {got}")]
    Parameter {
        /// The field.
        field: String,
        /// What is right.
        expected: String,
        /// What it is.
        got: String,
    },
    /// The pretokenisation pattern is no regex.
    #[error("pattern {pattern:?}: {message}")]
    Pattern {
        /// The regex.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// The chat template is broken, refuses the chat, or is not there.
    #[error("chat template: {message}")]
    Template {
        /// What is wrong.
        message: String,
    },
    /// The corpus has no text to train on.
    #[error("the corpus has no text to train a tokenizer on")]
    EmptyCorpus,
}

impl TokenizerError {
    /// Wraps an I/O error with its path.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}

impl StepError for TokenizerError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Job(error) => error.class(),
            Self::Data(error) => error.class(),
            Self::Io { .. } => ErrorClass::Transient,
            Self::File { .. }
            | Self::Parameter { .. }
            | Self::Pattern { .. }
            | Self::Template { .. }
            | Self::EmptyCorpus => ErrorClass::User,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Job(error) => error.code(),
            Self::Data(error) => error.code(),
            Self::Io { .. } => "io",
            Self::File { .. } => "tokenizer_file",
            Self::Parameter { .. } => "parameter",
            Self::Pattern { .. } => "pattern",
            Self::Template { .. } => "chat_template",
            Self::EmptyCorpus => "empty_corpus",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Job(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::File { .. } => "byte-level BPE tokenizers of Cupola and of Hugging Face load".into(),
            Self::Pattern { .. } => {
                "use gpt2, gpt4 or o200k, or a regex in Rust's or Oniguruma's syntax".into()
            }
            _ => String::new(),
        }
    }
}
