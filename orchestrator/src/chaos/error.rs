//! What goes wrong with a drill, apart from what it is there to find.

use std::path::{Path, PathBuf};

use cupola_specs::contract::ErrorClass;

use crate::executor::ExecutorError;
use crate::plan::PlanError;
use crate::run::RunError;
use crate::state::StateError;
use crate::store::StoreError;

/// What ends a drill.
#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    /// A promise was broken: this is what drills look for.
    #[error("{fault}: {problem}; the folder is kept: {folder}")]
    Broken {
        /// What was done.
        fault: String,
        /// What came of it.
        problem: String,
        /// Where to look.
        folder: PathBuf,
    },
    /// A file of the drill could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The drill's plan could not be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// State could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The drill's programs are not there.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// A drill's orchestrator could not go on.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl ChaosError {
    /// Turns an I/O error at `path` into this.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Broken { .. } => ErrorClass::Bug,
            Self::Io { .. } => ErrorClass::Transient,
            Self::Plan(error) => error.class(),
            Self::State(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::Executor(_) => ErrorClass::User,
            Self::Run(error) => error.class(),
        }
    }

    /// What the user can do; may be empty.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Broken { .. } => "please report it, with `cupola bundle` of that folder",
            Self::Io { .. } => "check the folder's permissions and the free space of its disk",
            Self::Plan(error) => error.hint(),
            Self::State(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Executor(error) => error.hint(),
            Self::Run(error) => error.hint(),
        }
    }
}
