//! What goes wrong with a report card.

use std::path::{Path, PathBuf};

use cupola_specs::contract::ErrorClass;

/// What goes wrong with a report card.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of the report could not be written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A page could not be rendered.
    #[error("the report's page could not be rendered: {0}")]
    Render(#[from] minijinja::Error),
}

impl ReportError {
    /// Turns an I/O error at `path` into this.
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } => ErrorClass::Transient,
            Self::Render(_) => ErrorClass::Bug,
        }
    }

    /// What the user can do; may be empty.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check the folder's permissions and the free space of its disk",
            Self::Render(_) => "",
        }
    }
}
