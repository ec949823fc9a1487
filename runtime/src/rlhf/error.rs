//! Errors of the rlhf room.

use crate::data::DataError;
use crate::generate::GenerateError;
use crate::job::{ErrorFacts, JobError, StepError};
use crate::model::ModelError;
use crate::seal::SealError;
use crate::sft::SftError;
use crate::tokenizer::TokenizerError;
use crate::train::TrainError;

/// An error of sampling preferences, training a reward model or aligning a policy.
#[derive(Debug, thiserror::Error)]
pub enum RlhfError {
    /// The frame failed.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A shard could not be read or written.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The tokenizer or its template refused.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model could not be read or written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The model's seal could not be made.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Sampling failed.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// Encoding, packing or scoring failed.
    #[error(transparent)]
    Sft(#[from] SftError),
    /// The tensor library refused.
    #[error("tensor library: {0}")]
    Tensor(#[from] tch::TchError),
    /// A choice that the runtime does not carry out yet.
    #[error("{field}: {got} is not supported yet; expected {expected}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// What the spec says.
        got: String,
        /// What works.
        expected: &'static str,
    },
    /// The labeler compares with reference answers, and a prompt has none.
    #[error("prompt {name}: the labeler `reference` needs a reference answer")]
    NoReference {
        /// Where the prompt is from.
        name: String,
    },
    /// No pair came out of sampling.
    #[error("no pair: {prompts} prompts gave {ties} ties, {too_long} prompts did not fit {context} tokens")]
    NoPairs {
        /// Prompts sampled.
        prompts: u64,
        /// Ties among them.
        ties: u64,
        /// Prompts that did not fit.
        too_long: u64,
        /// Tokens of the policy's context.
        context: usize,
    },
    /// A reward model's folder is not one.
    #[error("{path}: {field}: expected {expected}, got {got}")]
    ScoreHead {
        /// The file.
        path: std::path::PathBuf,
        /// The field.
        field: &'static str,
        /// What is right.
        expected: String,
        /// What it is.
        got: String,
    },
    /// The state of a stage in a checkpoint does not parse.
    #[error("checkpoint state of {stage}: {message}")]
    State {
        /// The stage.
        stage: &'static str,
        /// What is wrong.
        message: String,
    },
}

impl StepError for RlhfError {
    fn facts(&self) -> ErrorFacts {
        match self {
            Self::Job(error) => error.facts(),
            Self::Data(error) => error.facts(),
            Self::Tokenizer(error) => error.facts(),
            Self::Model(error) => error.facts(),
            Self::Train(error) => error.facts(),
            Self::Seal(error) => error.facts(),
            Self::Generate(error) => error.facts(),
            Self::Sft(error) => error.facts(),
            Self::Tensor(_) => ErrorFacts::bug("tensor", ""),
            Self::Unsupported { .. } => ErrorFacts::user("unsupported", ""),
            Self::NoReference { .. } => {
                ErrorFacts::user("no_reference", "give each prompt a `reference`, or take another labeler")
            }
            Self::NoPairs { .. } => {
                ErrorFacts::user("no_pairs", "lower `min_margin` or `max_new_tokens`, or give more prompts")
            }
            Self::ScoreHead { .. } => ErrorFacts::user("score_head", ""),
            Self::State { .. } => ErrorFacts::bug("checkpoint_state", ""),
        }
    }
}
