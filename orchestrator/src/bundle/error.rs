//! What ends the making of a bundle.

use std::path::{Path, PathBuf};

use cupola_specs::contract::ErrorClass;

/// What ends the making of a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is a file of that name already.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// A part could not be written as JSON.
    #[error("could not encode a part of the bundle: {0}")]
    Encode(#[from] serde_json::Error),
    /// A pattern of a secret does not compile.
    #[error("a pattern of a secret is wrong: {0}")]
    Pattern(#[from] regex::Error),
}

impl BundleError {
    /// Turns an I/O error at `path` into this.
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } => ErrorClass::Transient,
            Self::Exists(_) => ErrorClass::User,
            Self::Encode(_) | Self::Pattern(_) => ErrorClass::Bug,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check the folder's permissions and the free space of its disk",
            Self::Exists(_) => "give another name with --out, or move it away",
            Self::Encode(_) | Self::Pattern(_) => "",
        }
    }
}
