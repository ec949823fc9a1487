//! What ends the daemon.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cupola_specs::contract::ErrorClass;

use crate::state::StateError;

/// What ends the daemon.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// State could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A record could not be encoded.
    #[error("could not encode a record: {0}")]
    Encode(#[from] serde_json::Error),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The address could not be taken.
    #[error("the control API can't listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The address is not on loopback.
    #[error("the control API listens on loopback only, not on {0}")]
    NotLoopback(SocketAddr),
    /// Another daemon works on the same folder.
    #[error("another daemon works on this state folder: process {pid} at {address}")]
    Running {
        /// Its process.
        pid: u32,
        /// Its address.
        address: SocketAddr,
    },
}

impl DaemonError {
    /// Turns an I/O error at `path` into this.
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::State(error) => error.class(),
            Self::Encode(_) => ErrorClass::Bug,
            Self::Io { .. } => ErrorClass::Transient,
            Self::Listen { .. } | Self::NotLoopback(_) | Self::Running { .. } => ErrorClass::User,
        }
    }

    /// What the user can do; may be empty.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::State(error) => error.hint(),
            Self::Encode(_) => "",
            Self::Io { .. } => "check the folder's permissions and the free space of its disk",
            Self::Listen { .. } => "give another port with --listen",
            Self::NotLoopback(_) => "reach it from outside through an SSH tunnel",
            Self::Running { .. } => "stop it first, or give another folder with --state",
        }
    }
}
