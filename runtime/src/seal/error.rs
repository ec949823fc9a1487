//! Why a model has no seal, or does not keep it.

use std::path::PathBuf;

use crate::generate::GenerateError;
use crate::job::{ErrorFacts, JobError, StepError};
use crate::model::ModelError;
use crate::tokenizer::TokenizerError;

/// Errors of the parity seal.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The file is no seal of this version.
    #[error("{path}: {message}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The network gave something that is no number.
    #[error("the model gives no finite log-probability at token {position} of golden prompt {prompt}")]
    NotFinite {
        /// From 1.
        prompt: usize,
        /// From 1.
        position: usize,
    },
    /// The template renders another text.
    #[error(
        "parity seal, golden prompt {prompt}: the chat template renders {got:?} where {expected:?} was sealed"
    )]
    Template {
        /// From 1.
        prompt: usize,
        /// From the first difference on.
        expected: String,
        /// From the first difference on.
        got: String,
    },
    /// The tokenizer gives other ids.
    #[error(
        "parity seal, golden prompt {prompt}: token {position} is {got} where {expected} was sealed: the tokenizer is another one"
    )]
    Ids {
        /// From 1.
        prompt: usize,
        /// From 1.
        position: usize,
        /// The sealed id, or that there is none.
        expected: String,
        /// This tokenizer's.
        got: String,
    },
    /// The network says something else.
    #[error(
        "parity seal, golden prompt {prompt}: token {position} has log-probability {got:.4} where {expected:.4} was sealed; \
         over all {tokens} tokens the difference is {mean:.2e} in the mean and {largest:.2e} at most, and weights in {format} may \
         differ by {max_mean:.2e} and {max_largest:.2e}"
    )]
    Differs {
        /// Where the difference is largest, from 1.
        prompt: usize,
        /// Where the difference is largest, from 1.
        position: usize,
        /// Sealed, nats.
        expected: f32,
        /// Now, nats.
        got: f32,
        /// Tokens compared.
        tokens: usize,
        /// Mean absolute difference, nats.
        mean: f64,
        /// Largest absolute difference, nats.
        largest: f64,
        /// The format of the weights that were checked.
        format: &'static str,
        /// The most that `mean` may be.
        max_mean: f64,
        /// The most that `largest` may be.
        max_largest: f64,
    },
    /// The file could not be written.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The tokenizer's error.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The network's error.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The engine's error.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

impl StepError for SealError {
    fn facts(&self) -> ErrorFacts {
        match self {
            Self::Format { .. } => {
                ErrorFacts::user("seal_format", "export the model again with this version of Cupola")
            }
            Self::NotFinite { .. } => {
                ErrorFacts::user("seal_not_finite", "training diverged: look at the curve of its loss")
            }
            Self::Template { .. } | Self::Ids { .. } => ErrorFacts::user(
                "seal_broken",
                "the tokenizer's files are not those that the model was trained with: take them, or the whole folder, from the artifact again; \
                 a model that was changed on purpose is served from a copy of the folder without seal.json",
            ),
            Self::Differs { .. } => ErrorFacts::user(
                "seal_broken",
                "the weights are not those that were exported, or the format loses too much: export the model again, or serve it with \
                 --precision fp32 and --quantization none; a model that was changed on purpose is served from a copy of the folder without \
                 seal.json",
            ),
            Self::Job(error) => error.facts(),
            Self::Tokenizer(error) => error.facts(),
            Self::Model(error) => error.facts(),
            Self::Generate(error) => error.facts(),
        }
    }
}
