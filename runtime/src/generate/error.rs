//! What can go wrong between a request and its tokens.

use crate::job::{ErrorFacts, StepError};

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
    /// An adapter that the decoder does not hold.
    #[error("adapter {} is not loaded", .0.0)]
    UnknownAdapter(super::AdapterId),
    /// A grammar that is wrong, not supported or too large.
    #[error("the answer's form: {0}")]
    Grammar(String),
    /// A grammar that could not be followed to the end of an answer.
    #[error("the answer's form could not be followed further: {0}")]
    GrammarStopped(String),
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
    /// A network that there are no kernels for.
    #[error("Cupola's kernels cannot run this network: {0}")]
    Unsupported(String),
    /// The kernels of a device could not be made or run.
    #[error(transparent)]
    Kernel(#[from] cupola_kernels::KernelError),
    /// The tensor library refused.
    #[error("tensor library: {0}")]
    Tensor(#[from] tch::TchError),
    /// The network refused.
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
}

impl StepError for GenerateError {
    fn facts(&self) -> ErrorFacts {
        match self {
            Self::ContextOverflow { .. } => ErrorFacts::user(
                "context_length_exceeded",
                "shorten the prompt, ask for fewer new tokens, or train with a longer context",
            ),
            Self::EmptyPrompt => ErrorFacts::user(
                "empty_prompt",
                "give at least one token, such as the beginning-of-text token",
            ),
            Self::UnknownToken { .. } => {
                ErrorFacts::user("unknown_token", "encode with the tokenizer of this model")
            }
            Self::Grammar(_) => ErrorFacts::user(
                "invalid_grammar",
                "leave out what the message names, or say it in another way",
            ),
            Self::GrammarStopped(_) => ErrorFacts::user(
                "grammar_too_complex",
                "simplify the schema or the grammar: fewer alternatives, smaller counts in patterns",
            ),
            Self::UnknownAdapter(_) => {
                ErrorFacts::user("unknown_adapter", "ask for an adapter that is loaded")
            }
            Self::Setting { .. } => ErrorFacts::user("invalid_sampling", "correct the setting"),
            Self::NonFiniteLogits { .. } => ErrorFacts::bug(
                "non_finite_logits",
                "the weights are damaged or training diverged; look at its loss curve",
            ),
            Self::SelfTest { .. } => ErrorFacts::bug(
                "generate_self_test",
                "the cached and the full forward pass disagree; report it with the model's config.json",
            ),
            Self::Unsupported(_) => ErrorFacts::user(
                "unsupported_network",
                "generate by the engine of the tensor library instead",
            ),
            Self::Kernel(_) => ErrorFacts::transient(
                "device_kernels",
                "look at the device's driver (nvidia-smi), or run on the CPU",
            ),
            Self::Tensor(_) => ErrorFacts::bug("tensor", "see the worker's log"),
            Self::Model(error) => error.facts(),
        }
    }
}
