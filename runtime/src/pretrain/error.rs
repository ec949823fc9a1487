//! Errors of a pretrain step.

use std::path::PathBuf;

use cupola_specs::contract::ErrorClass;

use crate::generate::GenerateError;
use crate::job::{JobError, StepError};
use crate::model::ModelError;
use crate::scaling::ScalingError;
use crate::tokenizer::TokenizerError;
use crate::train::TrainError;

/// An error of a pretrain step.
#[derive(Debug, thiserror::Error)]
pub enum PretrainError {
    /// The frame's error.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The loop's error.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The network's error.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer's error.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The law's error.
    #[error(transparent)]
    Scaling(#[from] ScalingError),
    /// The engine's error.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A file is not what it should be.
    #[error("{path}: {message}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Expected and got.
        message: String,
    },
    /// The inputs do not belong together.
    #[error("{0}")]
    Mismatch(String),
}

impl StepError for PretrainError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Job(error) => error.class(),
            Self::Train(error) => error.class(),
            Self::Model(error) => error.class(),
            Self::Tokenizer(error) => error.class(),
            Self::Scaling(error) => error.class(),
            Self::Generate(error) => error.class(),
            Self::Format { .. } | Self::Mismatch(_) => ErrorClass::User,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Job(error) => error.code(),
            Self::Train(error) => error.code(),
            Self::Model(error) => error.code(),
            Self::Tokenizer(error) => error.code(),
            Self::Scaling(error) => error.code(),
            Self::Generate(error) => error.code(),
            Self::Format { .. } => "format",
            Self::Mismatch(_) => "mismatch",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Job(error) => error.hint(),
            Self::Train(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Tokenizer(error) => error.hint(),
            Self::Scaling(error) => error.hint(),
            Self::Generate(error) => error.hint(),
            Self::Format { .. } => "run the step that made it again".into(),
            Self::Mismatch(_) => "give the job the tokenizer that its corpus was encoded with".into(),
        }
    }
}
