//! What ends the following of a run.

use crate::state::StateError;

/// What ends the following of a run.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// State could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The terminal did not take the page, or is gone.
    #[error("the terminal: {0}")]
    Terminal(#[from] std::io::Error),
}

impl WatchError {
    /// What the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::State(error) => error.hint(),
            Self::Terminal(_) => "`cupola watch --plain` prints lines instead",
        }
    }
}
