//! What stops a crawl.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// A crawl that can't be begun or gone on with.
#[derive(Debug, Error)]
pub enum CrawlError {
    /// A field can't be used.
    #[error("`{field}`: {problem}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it, and what to write.
        problem: String,
    },
    /// The folder is that of another crawl.
    #[error(
        "{path}: the folder has a crawl with other parameters; use another folder, or the parameters it was begun with"
    )]
    OtherCrawl {
        /// The journal.
        path: PathBuf,
    },
    /// Another process crawls into the folder.
    #[error("{path}: another process crawls into this folder; wait for it, or use another folder")]
    Busy {
        /// The journal.
        path: PathBuf,
    },
    /// The journal is damaged before its last line.
    #[error("{path}, line {line}: the journal is damaged ({detail}); crawl into another folder")]
    Journal {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// The disk fails.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The HTTP client can't be made.
    #[error("HTTP client: {0}")]
    Client(String),
    /// A crawl blocks its thread, which a task of an asynchronous runtime must not.
    #[error("the crawl was begun inside an asynchronous runtime; run it on a thread of its own")]
    InsideRuntime,
}

impl CrawlError {
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }

    pub(super) fn field(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Field { field, problem: problem.into() }
    }
}
