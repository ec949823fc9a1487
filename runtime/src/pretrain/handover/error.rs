//! Errors of handing a pretraining over.

use crate::job::{ErrorFacts, JobError, StepError};
use crate::model::ModelError;
use crate::pretrain::PretrainError;
use crate::tokenizer::TokenizerError;
use crate::train::TrainError;

/// An error of handing a pretraining over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The frame's error, or a file's.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The pretraining's error.
    #[error(transparent)]
    Pretrain(#[from] PretrainError),
    /// The tokens' error.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The network's error.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer's error.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The step trains no base model.
    #[error("{0}, and only a pretraining is handed over")]
    Kind(String),
    /// The engine has no such network.
    #[error("{engine} has no {what}")]
    Network {
        /// The engine.
        engine: &'static str,
        /// The part.
        what: String,
    },
    /// The engine can't follow the rates.
    #[error("{engine} can't follow these rates: {got}")]
    Rates {
        /// The engine.
        engine: &'static str,
        /// The phases' shapes.
        got: String,
    },
    /// A document that the format has no room for.
    #[error("domain {domain}: a document of {tokens} tokens, and the format's lengths are 32-bit")]
    Document {
        /// The domain.
        domain: String,
        /// Its length.
        tokens: u64,
    },
}

impl StepError for HandoverError {
    fn facts(&self) -> ErrorFacts {
        match self {
            Self::Job(error) => error.facts(),
            Self::Pretrain(error) => error.facts(),
            Self::Train(error) => error.facts(),
            Self::Model(error) => error.facts(),
            Self::Tokenizer(error) => error.facts(),
            Self::Kind(_) => ErrorFacts::user("handover_kind", "name a pretrain job"),
            Self::Network { .. } => ErrorFacts::user(
                "handover_network",
                "leave this part out of `model`, so that the engine trains the model that the spec says",
            ),
            Self::Rates { .. } => ErrorFacts::user(
                "handover_rates",
                "give `phases` whose rates stay constant and then fall once, to the end of the run",
            ),
            Self::Document { .. } => {
                ErrorFacts::user("handover_document", "split the document in the corpus")
            }
        }
    }
}
