//! What stops a reader.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// A file that can't be read at all. Damage inside a file is no error: it is a [`super::Skipped`].
#[derive(Debug, Error)]
pub enum ReadError {
    /// The system does not give the file's bytes.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The cursor is not of this file.
    #[error("{path}: the place to go on from is not in this file ({detail}); read it from the begin")]
    Cursor {
        /// The file.
        path: PathBuf,
        /// What is out of place.
        detail: String,
    },
    /// A column that was asked for is not in the file, or can't hold text.
    #[error("{path}: column `{column}` {problem}; the file has {available}")]
    Column {
        /// The file.
        path: PathBuf,
        /// The column that was asked for.
        column: String,
        /// What is wrong with it.
        problem: &'static str,
        /// Columns that hold text.
        available: String,
    },
    /// The description of a dataset folder can't be used.
    #[error("{path}: {message}")]
    Dataset {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

impl ReadError {
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }
}
