//! Errors of training.

use std::path::PathBuf;

use cupola_kernels::KernelError;
use cupola_specs::contract::Failure;

use crate::job::{ErrorFacts, JobError, StepError, failure_of};
use crate::model::ModelError;

/// An error of a training step.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The frame's error.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The network's error.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// libtorch refused a call.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
    /// The loss is no number.
    #[error("optimiser step {step}: the loss is {loss}")]
    NotFinite {
        /// The step.
        step: u64,
        /// What it was.
        loss: f64,
    },
    /// A step's gradient is no number though its loss was one.
    #[error("optimiser step {step}: the gradient norm is {norm}")]
    GradientNotFinite {
        /// The step.
        step: u64,
        /// What it was.
        norm: f64,
    },
    /// A step's loss is far above those before it.
    #[error("optimiser step {step}: the loss is {loss:.4}, far above those before it (at most {limit:.4})")]
    Spike {
        /// The step.
        step: u64,
        /// What it was.
        loss: f64,
        /// The most that was expected.
        limit: f64,
    },
    /// Several steps in a row were bad: the next attempt goes on before them.
    #[error(
        "optimiser step {step}: {trouble}, as in the steps before; goes back to step {to} and leaves out what lies between"
    )]
    WentBack {
        /// The last bad step.
        step: u64,
        /// What was wrong with it.
        trouble: String,
        /// Steps that are done where the run goes on.
        to: u64,
    },
    /// Memory does not do even with micro-batches of one row.
    #[error("attempts ran out of memory down to a micro-batch of one row")]
    OutOfMemory,
    /// A micro-batch trains no token.
    #[error("optimiser step {step}, micro-batch {micro}: no token carries loss")]
    NoLoss {
        /// The step.
        step: u64,
        /// The micro-batch.
        micro: u64,
    },
    /// A file of tokens or states is not what it should be.
    #[error("{path}: {message}")]
    Data {
        /// The file.
        path: PathBuf,
        /// What is wrong, expected and got.
        message: String,
    },
    /// A state in the step's folder is of another step or of other parameters.
    #[error("{path}: {message}")]
    ForeignState {
        /// The file.
        path: PathBuf,
        /// Expected and got.
        message: String,
    },
    /// The best state, which becomes the model, is not whole any more.
    #[error("the best state, that of step {step}, is not whole any more; the run goes on from before it")]
    BestStateLost {
        /// Its step.
        step: u64,
    },
    /// The thread that writes states ended before its time.
    #[error("the writer of states ended before its time")]
    WriterLost,
    /// A file of a `tokens` artifact is not laid out as it should be.
    #[error("{path}: {problem}")]
    Tokens {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: TokenProblem,
    },
    /// A run needs more of a domain than it may read.
    #[error(
        "domain {domain} has {num_tokens} tokens, and the run reads them {epochs:.2} times; `max_epochs` is {max_epochs}"
    )]
    Exhausted {
        /// The domain.
        domain: String,
        /// Tokens that there are.
        num_tokens: u64,
        /// Passes that the run needs.
        epochs: f64,
        /// Passes that it may have.
        max_epochs: f64,
    },
    /// What passes between ranks, or the contact with libtorch, failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Another rank is lost.
    #[error("{0}")]
    RankLost(String),
    /// The step cannot be carried out with these parameters.
    #[error("{0}")]
    Refused(String),
    /// A self-test at the start of the stage failed.
    #[error("self-test {test}: {message}")]
    SelfTest {
        /// Which test.
        test: &'static str,
        /// Expected and got.
        message: String,
    },
    /// An error of the stage around the loop.
    #[error("{}", .0.message)]
    Stage(Failure),
}

/// What is wrong with a file of a `tokens` artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// The index is none.
    #[error("{0}")]
    Index(String),
    /// Ids have a width that is none, or that the vocabulary does not fit into.
    #[error(
        "ids of {id_bytes} bytes do not go with a vocabulary of {vocab_size} tokens: expected 2 up to 65536, or 4"
    )]
    IdWidth {
        /// Bytes of an id.
        id_bytes: u64,
        /// Size of the vocabulary.
        vocab_size: u64,
    },
    /// A file is longer or shorter than what it should hold.
    #[error("{}: expected {expected} bytes for {count} values of {width} bytes, got {got}", if got < expected { "truncated" } else { "too long" })]
    Length {
        /// Values.
        count: u64,
        /// Bytes of each.
        width: u64,
        /// Bytes in all.
        expected: u64,
        /// Bytes that there are.
        got: u64,
    },
    /// Documents do not start one after the other within the shard.
    #[error("document {document} starts at token {start}, not behind the one before it and within the shard")]
    Starts {
        /// The document.
        document: u64,
        /// Its place.
        start: u64,
    },
}

impl TokenProblem {
    fn code(&self) -> &'static str {
        match self {
            Self::Index(_) => "token_index",
            Self::IdWidth { .. } => "token_id_width",
            Self::Length { got, expected, .. } if got < expected => "token_shard_truncated",
            Self::Length { .. } => "token_shard_length",
            Self::Starts { .. } => "token_starts",
        }
    }
}

impl TrainError {
    /// Whether it only says that the worker was asked to stop, wherever that was noticed.
    pub(super) fn is_cancelled(&self) -> bool {
        self.facts().code == Failure::CANCELLED
    }

    /// Carries the error of the stage around the loop.
    pub fn stage(error: &dyn StepError) -> Self {
        Self::Stage(failure_of(error))
    }
}

impl StepError for TrainError {
    fn facts(&self) -> ErrorFacts {
        match self {
            Self::Job(error) => error.facts(),
            Self::Model(error) => error.facts(),
            Self::Torch(_) => ErrorFacts::bug("libtorch", ""),
            Self::NotFinite { .. } => {
                ErrorFacts::user("nan_loss", "lower `optimizer.lr`, or set `optimizer.grad_clip`")
            }
            Self::GradientNotFinite { .. } => {
                ErrorFacts::user("nan_gradient", "lower `optimizer.lr`, or set `optimizer.grad_clip`")
            }
            Self::Spike { .. } => ErrorFacts::user(
                "loss_spike",
                "lower `optimizer.lr`, or raise `optimizer.spike_sigma` or `optimizer.max_setbacks`",
            ),
            Self::WentBack { .. } => ErrorFacts::transient(Failure::WENT_BACK, ""),
            Self::OutOfMemory => ErrorFacts::user(
                Failure::OUT_OF_MEMORY,
                "lower `context.length`, take a smaller model, or a machine with more memory",
            ),
            Self::NoLoss { .. } => ErrorFacts::user(
                "micro_batch_without_loss",
                "raise `batch.micro_batch`, or check that the data has tokens that carry loss",
            ),
            Self::Data { .. } => ErrorFacts::user("training_data", ""),
            Self::ForeignState { .. } => ErrorFacts::user(
                "foreign_state",
                "remove this state and its record from the checkpoint folder: it is none of this step's",
            ),
            Self::BestStateLost { .. } => ErrorFacts::transient("best_state_lost", ""),
            Self::WriterLost => ErrorFacts::bug("checkpoint_writer", ""),
            Self::Tokens { problem, .. } => ErrorFacts::user(
                problem.code(),
                "the artifact is damaged or of another version: remove it and run its step again",
            ),
            Self::Exhausted { .. } => ErrorFacts::user(
                "domain_exhausted",
                "lower `tokens` or the domain's weight in `phases`, add data, or raise `max_epochs`",
            ),
            Self::Kernel(error) if error.is_transient() => {
                ErrorFacts::transient(Failure::RANK_LOST, error.hint().unwrap_or_default())
            }
            Self::Kernel(error) => ErrorFacts::bug("libtorch", error.hint().unwrap_or_default()),
            Self::RankLost(_) => ErrorFacts::transient(
                Failure::RANK_LOST,
                "look at the other ranks' logs in the attempt's folder; the step goes on from its checkpoint",
            ),
            Self::Refused(_) => ErrorFacts::user("refused", ""),
            Self::SelfTest { .. } => ErrorFacts::bug("self_test", ""),
            Self::Stage(failure) => ErrorFacts {
                class: failure.class,
                code: failure.code.clone().into(),
                hint: failure.hint.clone().into(),
            },
        }
    }
}
