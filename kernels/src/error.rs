//! What can go wrong between Rust and libtorch.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// libtorch refused an operation.
    #[error("{operation}: {message}")]
    Torch {
        /// What was asked for.
        operation: &'static str,
        /// libtorch's words.
        message: String,
    },
    /// A call of tch inside a callback failed.
    #[error("libtorch: {0}")]
    Tch(#[from] tch::TchError),
    /// What was passed does not fit together.
    #[error("{operation}: {message}")]
    Invalid {
        /// What was asked for.
        operation: &'static str,
        /// What does not fit, expected and got.
        message: String,
    },
    /// A Rust callback returned an error or panicked.
    #[error("{callback}: {message}")]
    Callback {
        /// Which callback.
        callback: String,
        /// Its words.
        message: String,
    },
    /// There is no CUDA where it is needed.
    #[error("{operation} needs CUDA: {message}")]
    NoCuda {
        /// What was asked for.
        operation: &'static str,
        /// Why there is none.
        message: String,
    },
    /// Deterministic mode lacks what it needs.
    #[error("deterministic mode on CUDA needs the environment variable {variable}={value}; it is {found}")]
    Workspace {
        /// The variable.
        variable: &'static str,
        /// What it should be.
        value: &'static str,
        /// What it is.
        found: String,
    },
    /// The ranks of a job did not meet.
    #[error(
        "rank {rank} of {world_size} could not join the others at {address} within {seconds} s: {message}"
    )]
    Rendezvous {
        /// This process's rank.
        rank: usize,
        /// How many ranks were expected.
        world_size: usize,
        /// Host and port of the store.
        address: String,
        /// The time-out.
        seconds: f64,
        /// What happened.
        message: String,
    },
    /// An operation between ranks failed: another rank is dead or silent, or its call was another one.
    #[error("rank {rank}: {operation} failed after {waited:.1} s (time-out {seconds} s): {message}")]
    Collective {
        /// This process's rank.
        rank: usize,
        /// Which operation.
        operation: &'static str,
        /// The time-out of the group.
        seconds: f64,
        /// How long the operation was under way.
        waited: f64,
        /// What happened.
        message: String,
    },
}

impl KernelError {
    /// Whether another attempt may succeed: other processes or the network were in the way, not this one's code or input.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Rendezvous { .. } | Self::Collective { .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Rendezvous { .. } => Some(
                "look at the other ranks' logs; is the port free, and is every rank given the same world size?",
            ),
            Self::Collective { .. } => Some(
                "look at the other ranks' logs for the first failure; the step goes on from its checkpoint when it is started again",
            ),
            Self::NoCuda { .. } => {
                Some("run on a machine with a GPU and a CUDA build of libtorch, or set `device: cpu`")
            }
            Self::Workspace { .. } => {
                Some("set the variable before the worker starts, or turn deterministic mode off")
            }
            Self::Torch { .. } | Self::Tch(_) | Self::Invalid { .. } | Self::Callback { .. } => None,
        }
    }
}

/// What a panic says.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "panicked".to_owned()
    }
}
