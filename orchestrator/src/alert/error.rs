//! What goes wrong with alerts.

use std::path::{Path, PathBuf};

use cupola_specs::contract::ErrorClass;

use crate::state::StateError;

/// What goes wrong with alerts.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    /// State could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A record could not be encoded.
    #[error("could not encode a record: {0}")]
    Encode(#[from] serde_json::Error),
    /// A report is not in the store any more.
    #[error("the report of run {run} is not in the store any more")]
    ReportGone {
        /// The run.
        run: String,
    },
    /// A report can't be read.
    #[error("report.json of run {run} can't be read: {problem}")]
    Report {
        /// The run.
        run: String,
        /// Why not.
        problem: String,
    },
    /// A file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl AlertError {
    /// Turns an I/O error at `path` into this.
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::State(error) => error.class(),
            Self::Encode(_) => ErrorClass::Bug,
            Self::ReportGone { .. } | Self::Report { .. } => ErrorClass::User,
            Self::Io { .. } => ErrorClass::Transient,
        }
    }

    /// What the user can do; may be empty.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::State(error) => error.hint(),
            Self::Encode(_) => "",
            Self::ReportGone { .. } => "`cupola gc --keep-runs` with a higher number keeps it",
            Self::Report { .. } => "`cupola doctor` checks the files of the store",
            Self::Io { .. } => "check the folder's permissions",
        }
    }
}
