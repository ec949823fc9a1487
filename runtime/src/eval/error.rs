//! Errors of the eval room.

use crate::data::DataError;
use crate::generate::GenerateError;
use crate::job::{ErrorFacts, JobError, StepError};
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
    fn facts(&self) -> ErrorFacts {
        match self {
            Self::Job(error) => error.facts(),
            Self::Data(error) => error.facts(),
            Self::Tokenizer(error) => error.facts(),
            Self::Model(error) => error.facts(),
            Self::Generate(error) => error.facts(),
            Self::Sft(error) => error.facts(),
            Self::Rlhf(error) => error.facts(),
            Self::Page { .. } => ErrorFacts::bug("page", ""),
            Self::UnknownModel { .. } => ErrorFacts::user("unknown_model", "add it to `models`"),
            Self::NothingToMeasure { .. } => ErrorFacts::user("nothing_to_measure", ""),
            Self::NothingFits { .. } => ErrorFacts::user(
                "nothing_fits",
                "train the model with a longer context, or ask for shorter answers",
            ),
        }
    }
}
