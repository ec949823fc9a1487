//! Errors of the eval room.

use cupola_specs::contract::ErrorClass;

use crate::data::DataError;
use crate::generate::GenerateError;
use crate::job::{JobError, StepError};
use crate::model::ModelError;
use crate::rlhf::RlhfError;
use crate::sft::SftError;
use crate::tokenizer::TokenizerError;

/// An error of an eval step.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The frame failed.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A corpus could not be read, or a shard written.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A tokenizer or its template refused.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A model could not be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Sampling failed.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// Encoding or scoring failed.
    #[error(transparent)]
    Sft(#[from] SftError),
    /// Sampling or reading prompts failed.
    #[error(transparent)]
    Rlhf(#[from] RlhfError),
    /// A page could not be rendered.
    #[error("page {page}: {source}")]
    Page {
        /// The file.
        page: &'static str,
        /// Why.
        source: minijinja::Error,
    },
    /// A suite names a model that the step does not have.
    #[error("suites[{suite}]: model {model:?} is not one of {known}")]
    UnknownModel {
        /// Index of the suite.
        suite: usize,
        /// The name.
        model: String,
        /// The names there are.
        known: String,
    },
    /// A suite has nothing to ask.
    #[error("suites[{suite}] ({name}): {message}")]
    NothingToMeasure {
        /// Index of the suite.
        suite: usize,
        /// The suite.
        name: &'static str,
        /// Why.
        message: String,
    },
    /// A model's context is shorter than what every question needs.
    #[error("suites[{suite}] ({name}): model {model:?}: none of {num_items} items fits its {context} tokens")]
    NothingFits {
        /// Index of the suite.
        suite: usize,
        /// The suite.
        name: &'static str,
        /// The model.
        model: String,
        /// Items asked.
        num_items: usize,
        /// The model's context.
        context: usize,
    },
}

impl StepError for EvalError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Job(error) => error.class(),
            Self::Data(error) => error.class(),
            Self::Tokenizer(error) => error.class(),
            Self::Model(error) => error.class(),
            Self::Generate(error) => error.class(),
            Self::Sft(error) => error.class(),
            Self::Rlhf(error) => error.class(),
            Self::Page { .. } => ErrorClass::Bug,
            Self::UnknownModel { .. } | Self::NothingToMeasure { .. } | Self::NothingFits { .. } => {
                ErrorClass::User
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Job(error) => error.code(),
            Self::Data(error) => error.code(),
            Self::Tokenizer(error) => error.code(),
            Self::Model(error) => error.code(),
            Self::Generate(error) => error.code(),
            Self::Sft(error) => error.code(),
            Self::Rlhf(error) => error.code(),
            Self::Page { .. } => "page",
            Self::UnknownModel { .. } => "unknown_model",
            Self::NothingToMeasure { .. } => "nothing_to_measure",
            Self::NothingFits { .. } => "nothing_fits",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Job(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Tokenizer(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Generate(error) => error.hint(),
            Self::Sft(error) => error.hint(),
            Self::Rlhf(error) => error.hint(),
            Self::UnknownModel { .. } => "add it to `models`".into(),
            Self::NothingFits { .. } => {
                "train the model with a longer context, or ask for shorter answers".into()
            }
            Self::Page { .. } | Self::NothingToMeasure { .. } => String::new(),
        }
    }
}
