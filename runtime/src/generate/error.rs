//! What can go wrong between a request and its tokens.

use cupola_specs::contract::ErrorClass;

/// Errors of the inference engine.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A request that does not fit the engine's context.
    #[error(
        "the prompt has {prompt} tokens and {max_new} new ones are asked for, but the context holds {context}"
    )]
    ContextOverflow {
        /// Tokens of the prompt.
        prompt: usize,
        /// New tokens asked for.
        max_new: usize,
        /// Tokens that the context holds.
        context: usize,
    },
    /// A request without a token to start from.
    #[error("the prompt is empty: a model needs at least one token to start from")]
    EmptyPrompt,
    /// A token id outside the vocabulary.
    #[error("`{field}` holds token {token}, but the vocabulary ends at {vocab_size}")]
    UnknownToken {
        /// Field of the request.
        field: &'static str,
        /// The id.
        token: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// A setting outside its range.
    #[error("`{field}` is {got}; expected {expected}")]
    Setting {
        /// Field of the request or of the engine.
        field: &'static str,
        /// What was given.
        got: String,
        /// The range.
        expected: &'static str,
    },
    /// The network gave a NaN or an infinite logit.
    #[error(
        "the network gave a logit that is not finite, at new token {position} of a request with {prompt} prompt tokens"
    )]
    NonFiniteLogits {
        /// Tokens of the prompt.
        prompt: usize,
        /// New tokens before this one.
        position: usize,
    },
    /// A self-test found a difference.
    #[error("self-test `{check}`: {got:e} is over the tolerance of {tolerance:e}")]
    SelfTest {
        /// Name of the check.
        check: &'static str,
        /// Largest difference.
        got: f64,
        /// Largest difference allowed.
        tolerance: f64,
    },
    /// The tensor library refused.
    #[error("tensor library: {0}")]
    Tensor(#[from] tch::TchError),
    /// The network refused.
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
}

impl GenerateError {
    /// Who can mend it: the user by another request, a retry, or a programmer.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::ContextOverflow { .. }
            | Self::EmptyPrompt
            | Self::UnknownToken { .. }
            | Self::Setting { .. } => ErrorClass::User,
            Self::NonFiniteLogits { .. } | Self::SelfTest { .. } | Self::Tensor(_) => ErrorClass::Bug,
            Self::Model(error) => crate::job::StepError::class(error),
        }
    }

    /// A stable name for the event stream and for API errors.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ContextOverflow { .. } => "context_length_exceeded",
            Self::EmptyPrompt => "empty_prompt",
            Self::UnknownToken { .. } => "unknown_token",
            Self::Setting { .. } => "invalid_sampling",
            Self::NonFiniteLogits { .. } => "non_finite_logits",
            Self::SelfTest { .. } => "generate_self_test",
            Self::Tensor(_) => "tensor",
            Self::Model(error) => crate::job::StepError::code(error),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::ContextOverflow { .. } => {
                "shorten the prompt, ask for fewer new tokens, or train with a longer context".into()
            }
            Self::EmptyPrompt => "give at least one token, such as the beginning-of-text token".into(),
            Self::UnknownToken { .. } => "encode with the tokenizer of this model".into(),
            Self::Setting { .. } => "correct the setting".into(),
            Self::NonFiniteLogits { .. } => {
                "the weights are damaged or training diverged; look at its loss curve".into()
            }
            Self::SelfTest { .. } => {
                "the cached and the full forward pass disagree; report it with the model's config.json".into()
            }
            Self::Tensor(_) => "see the worker's log".into(),
            Self::Model(error) => crate::job::StepError::hint(error),
        }
    }
}
