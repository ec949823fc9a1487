//! What ends a run before its steps do.

use cupola_specs::contract::ErrorClass;

use crate::executor::ExecutorError;
use crate::plan::PlanError;
use crate::state::StateError;
use crate::store::StoreError;

/// What ends a run before its steps do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// State could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An attempt could not be started or seen.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// The plan could not be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl RunError {
    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::State(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::Executor(ExecutorError::NoWorker { .. } | ExecutorError::NoShim { .. }) => ErrorClass::User,
            Self::Executor(_) => ErrorClass::Transient,
            Self::Plan(error) => error.class(),
        }
    }

    /// What the user can do; may be empty.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::State(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Executor(error) => error.hint(),
            Self::Plan(error) => error.hint(),
        }
    }
}
