//! Errors of the rlhf room.

use cupola_specs::contract::ErrorClass;

use crate::data::DataError;
use crate::generate::GenerateError;
use crate::job::{JobError, StepError};
use crate::model::ModelError;
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
    fn class(&self) -> ErrorClass {
        match self {
            Self::Job(error) => error.class(),
            Self::Data(error) => error.class(),
            Self::Tokenizer(error) => error.class(),
            Self::Model(error) => error.class(),
            Self::Train(error) => error.class(),
            Self::Generate(error) => error.class(),
            Self::Sft(error) => error.class(),
            Self::Tensor(_) | Self::State { .. } => ErrorClass::Bug,
            Self::Unsupported { .. }
            | Self::NoReference { .. }
            | Self::NoPairs { .. }
            | Self::ScoreHead { .. } => ErrorClass::User,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Job(error) => error.code(),
            Self::Data(error) => error.code(),
            Self::Tokenizer(error) => error.code(),
            Self::Model(error) => error.code(),
            Self::Train(error) => error.code(),
            Self::Generate(error) => error.code(),
            Self::Sft(error) => error.code(),
            Self::Tensor(_) => "tensor",
            Self::Unsupported { .. } => "unsupported",
            Self::NoReference { .. } => "no_reference",
            Self::NoPairs { .. } => "no_pairs",
            Self::ScoreHead { .. } => "score_head",
            Self::State { .. } => "checkpoint_state",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Job(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Tokenizer(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Train(error) => error.hint(),
            Self::Generate(error) => error.hint(),
            Self::Sft(error) => error.hint(),
            Self::NoReference { .. } => "give each prompt a `reference`, or take another labeler".into(),
            Self::NoPairs { .. } => "lower `min_margin` or `max_new_tokens`, or give more prompts".into(),
            _ => String::new(),
        }
    }
}
