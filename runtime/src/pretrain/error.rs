//! Errors of a pretrain step.

use std::path::PathBuf;

use crate::generate::GenerateError;
use crate::job::{ErrorFacts, JobError, StepError};
use crate::model::ModelError;
use crate::scaling::ScalingError;
use crate::seal::SealError;
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
    /// The seal's error.
    #[error(transparent)]
    Seal(#[from] SealError),
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
    fn facts(&self) -> ErrorFacts {
        match self {
            Self::Job(error) => error.facts(),
            Self::Train(error) => error.facts(),
            Self::Model(error) => error.facts(),
            Self::Tokenizer(error) => error.facts(),
            Self::Scaling(error) => error.facts(),
            Self::Generate(error) => error.facts(),
            Self::Seal(error) => error.facts(),
            Self::Format { .. } => ErrorFacts::user("format", "run the step that made it again"),
            Self::Mismatch(_) => {
                ErrorFacts::user("mismatch", "give the job the tokenizer that its corpus was encoded with")
            }
        }
    }
}
