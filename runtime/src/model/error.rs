//! Errors of loading, saving and building a network.

use std::path::{Path, PathBuf};

use crate::job::{ErrorFacts, StepError};

/// An error of a network.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A config or weights file is not what it should be.
    #[error("{path}: {message}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, expected and got.
        message: String,
    },
    /// A shape that no network has.
    #[error("model shape: {0}")]
    Shape(String),
    /// libtorch refused a call.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl ModelError {
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }

    pub(super) fn format(path: &Path, message: impl Into<String>) -> Self {
        Self::Format { path: path.to_path_buf(), message: message.into() }
    }
}

impl StepError for ModelError {
    fn facts(&self) -> ErrorFacts {
        match self {
            Self::Io { source, .. } => ErrorFacts::io(source),
            Self::Format { .. } => ErrorFacts::user(
                "model_format",
                "export the model again, or check that the folder is a whole Hugging Face model",
            ),
            Self::Shape(_) => ErrorFacts::user(
                "model_shape",
                "change the sizes under `model:`; `cupola explain pretrain.model` lists them",
            ),
            Self::Torch(_) => ErrorFacts::bug("libtorch", ""),
        }
    }
}
