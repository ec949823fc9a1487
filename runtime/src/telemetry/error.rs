//! Errors of sinks. None of them fails a step: each becomes a warning event, and the sink is off from there on or tries again.

use std::path::{Path, PathBuf};

/// Why a sink did not take something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    /// A file could not be written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A server could not be reached, or was too busy: the same may work later.
    #[error("{0}")]
    Busy(String),
    /// A server refused, and would again.
    #[error("{0}")]
    Refused(String),
    /// The variable of a secret is not set.
    #[error("the variable {0}, which the spec names as a secret, is not set where the step runs")]
    NoSecret(String),
}

impl TelemetryError {
    /// Wraps an I/O error with its path.
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }

    /// Whether the same may work later.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Busy(_))
    }
}
