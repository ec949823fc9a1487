//! What goes wrong with artifacts.

use std::path::{Path, PathBuf};

use cupola_specs::contract::{ErrorClass, Failure};

use crate::state::is_disk_full;

/// What goes wrong with artifacts.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be read, written or moved.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A worker said that it finished and left nothing.
    #[error("{path}: the worker finished and left an empty folder")]
    Empty {
        /// The staging folder.
        path: PathBuf,
    },
    /// A manifest can't be read.
    #[error("{path}: {problem}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The threads that move artifacts have ended.
    #[error("the threads that move artifacts into the store have ended")]
    Stopped,
}

impl StoreError {
    /// Turns an I/O error at `path` into this.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } => ErrorClass::Transient,
            Self::Empty { .. } | Self::Manifest { .. } | Self::Stopped => ErrorClass::Bug,
        }
    }

    /// A stable short name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { source, .. } if is_disk_full(source) => Failure::STORAGE_FULL,
            Self::Io { .. } => "store_io",
            Self::Empty { .. } => "empty_output",
            Self::Manifest { .. } => "bad_manifest",
            Self::Stopped => "store_stopped",
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check the folder's permissions and the free space of its disk",
            Self::Empty { .. } => "see the step's stderr.log with `cupola logs`",
            Self::Manifest { .. } => "`cupola doctor` says which artifacts are damaged",
            Self::Stopped => "`cupola apply` again goes on with the run",
        }
    }
}
