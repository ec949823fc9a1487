//! What goes wrong with state.

use std::path::{Path, PathBuf};

use cupola_specs::contract::ErrorClass;

use super::is_disk_full;

/// What goes wrong with state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file of the state folder could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another orchestrator holds the folder.
    #[error("state folder {path} is in use by process {pid} on {host}")]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The holder's process id.
        pid: u32,
        /// The holder's host.
        host: String,
    },
    /// The journal is damaged before its end.
    #[error("{path}: record {seq} at byte {offset}: {problem}")]
    Journal {
        /// The journal.
        path: PathBuf,
        /// The first bad record.
        seq: u64,
        /// Where it starts.
        offset: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The journal is of an earlier or a later schema.
    #[error("{path}: the journal is of schema {found}, this version writes {known}")]
    Schema {
        /// The journal.
        path: PathBuf,
        /// Its schema.
        found: char,
        /// The schema of this version.
        known: char,
    },
    /// An fsync failed before: what is on the disk is not known.
    #[error("{path}: writing failed before, and what is on the disk is not known")]
    Poisoned {
        /// The journal.
        path: PathBuf,
    },
    /// The state folder lies on a network file system.
    #[error(
        "state folder {path} lies on a network file system ({kind}), whose locks and renames can't be relied on"
    )]
    NetworkFolder {
        /// The folder.
        path: PathBuf,
        /// The file system.
        kind: &'static str,
    },
    /// The database failed.
    #[error("database {path}: {problem}")]
    Database {
        /// The database.
        path: PathBuf,
        /// What it said.
        problem: String,
    },
    /// A value could not be written as JSON.
    #[error("could not encode a record: {0}")]
    Encode(#[from] serde_json::Error),
}

impl StateError {
    /// Turns an I/O error at `path` into this.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } | Self::Database { .. } | Self::Poisoned { .. } => ErrorClass::Transient,
            Self::Locked { .. } | Self::NetworkFolder { .. } | Self::Schema { .. } => ErrorClass::User,
            Self::Journal { .. } | Self::Encode(_) => ErrorClass::Bug,
        }
    }

    /// Whether there was no room for a record.
    pub fn is_storage_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_disk_full(source))
    }

    /// What the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check the folder's permissions and the free space of its disk",
            Self::Locked { .. } => "wait for it, stop it, or give another folder with --state",
            Self::Schema { found, known, .. } if found > known => {
                "use the version of cupola that wrote it, or a later one"
            }
            Self::Schema { .. } => "open it for writing once: `cupola doctor` does",
            Self::Poisoned { .. } => "look after the disk; the same command goes on from what is there",
            Self::NetworkFolder { .. } => {
                "give a folder on a local disk with --state, or take the risk with CUPOLA_ALLOW_NETWORK_STATE=1"
            }
            Self::Journal { .. } => {
                "the database has not all that is missing; `cupola doctor --cut-damage` gives up the records from there on"
            }
            Self::Database { .. } => "`cupola doctor --rebuild` makes it again from the journal",
            Self::Encode(_) => "",
        }
    }
}
