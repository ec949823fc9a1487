//! What can go wrong with a classifier.

use std::path::{Path, PathBuf};

/// An error of this module. Every variant but [`ClassifierError::Io`] is the user's to mend.
#[derive(Debug, thiserror::Error)]
pub enum ClassifierError {
    /// A setting that is out of its range.
    #[error("classifier: `{field}` is {got}, expected {expected}")]
    Setting {
        /// Its name.
        field: &'static str,
        /// What was given.
        got: String,
        /// What may be given.
        expected: String,
    },
    /// Examples or scores that nothing can be learned or measured from.
    #[error("classifier: {0}")]
    Data(String),
    /// More features than the set may hold.
    #[error(
        "classifier: the examples have over {limit} features; take fewer examples (`balance`) or raise `max_features`"
    )]
    TooMany {
        /// `max_features`.
        limit: u64,
    },
    /// A file that can't be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{path}: {what}")]
    Format {
        /// Which.
        path: PathBuf,
        /// What was found, and what was expected.
        what: String,
    },
    /// Threads that can't be started.
    #[error("classifier: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

impl ClassifierError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(super) fn format(path: &Path, what: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), what: what.into() }
    }
}
