//! What goes wrong with attempts.

use std::path::{Path, PathBuf};

use crate::state::is_disk_full;

/// What goes wrong with attempts.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// A file of the attempt's folder could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A process could not be started.
    #[error("could not start {program}: {source}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has taken the attempt already.
    #[error("{path}: the attempt is taken already")]
    Taken {
        /// The claim.
        path: PathBuf,
    },
    /// A process could not be signalled.
    #[error("could not signal process {pid}: {problem}")]
    Signal {
        /// The process.
        pid: u32,
        /// Why.
        problem: String,
    },
    /// There is no worker binary.
    #[error("there is no worker at {path}")]
    NoWorker {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is no shim binary.
    #[error("there is no shim at {path}")]
    NoShim {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file of the contract could not be read or encoded.
    #[error("{path}: {problem}")]
    Encode {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

impl ExecutorError {
    /// Turns an I/O error at `path` into this.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    /// Whether the disk had no room for a file.
    pub fn is_storage_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_disk_full(source))
    }

    /// What the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoWorker { .. } => {
                "build it with `cargo build --release -p cupola-runtime`, or set CUPOLA_WORKER"
            }
            Self::NoShim { .. } => "it is built with `cupola` and belongs beside it",
            Self::Io { .. } => "check the folder's permissions and the free space of its disk",
            _ => "",
        }
    }
}
