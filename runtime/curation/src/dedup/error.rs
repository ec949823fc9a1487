//! What ends a deduplication.

use std::path::{Path, PathBuf};

use cupola_specs::contract::ErrorClass;

/// What ends a deduplication.
#[derive(Debug, thiserror::Error)]
pub enum DedupError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what was written.
    #[error("{path}, {place}: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which of its blocks, from 0, or its header.
        place: Place,
        /// What is wrong with it.
        what: String,
    },
    /// A folder holds the files of other work, or of the same work with other settings.
    #[error("{path} belongs to other work: expected {expected}, got {got}")]
    OtherWork {
        /// The file.
        path: PathBuf,
        /// What this work writes.
        expected: String,
        /// What is there.
        got: String,
    },
    /// An input was opened while it was open.
    #[error("input {name:?} is open already")]
    OpenTwice {
        /// The input.
        name: String,
    },
    /// A parameter makes no sense.
    #[error("{field}: expected {expected}, got {got}")]
    Parameter {
        /// The parameter.
        field: &'static str,
        /// What is right.
        expected: String,
        /// What it is.
        got: String,
    },
    /// A suffix array could not be built.
    #[error("suffix array of {num_bytes} bytes: {what}")]
    SuffixArray {
        /// Length of the text.
        num_bytes: usize,
        /// Why.
        what: String,
    },
}

/// A place in a file of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// What stands before the blocks.
    Header,
    /// A block, from 0.
    Block(u64),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Block(block) => write!(f, "block {block}"),
        }
    }
}

impl DedupError {
    /// Turns an I/O error at `path` into this.
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } => ErrorClass::Transient,
            Self::Damaged { .. } | Self::OtherWork { .. } | Self::Parameter { .. } => ErrorClass::User,
            Self::OpenTwice { .. } | Self::SuffixArray { .. } => ErrorClass::Bug,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check the folder's permissions and the free space of its disk",
            Self::Damaged { .. } => "remove the folder and run the step again; check the disk",
            Self::OtherWork { .. } => "remove the folder, or give this work a folder of its own",
            Self::OpenTwice { .. } | Self::Parameter { .. } | Self::SuffixArray { .. } => "",
        }
    }
}
