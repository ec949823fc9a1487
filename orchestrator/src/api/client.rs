//! The other end of the control API: what the command line asks of a daemon that runs for its state folder.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cupola_specs::contract::ErrorClass;
use reqwest::StatusCode;
use reqwest::blocking::{Client, RequestBuilder};
use serde_json::Value;

use super::ApplyBody;
use crate::daemon::{DaemonFile, read_daemon_file, token_file};
use crate::state::StateDir;

/// How long a daemon may take to say that it is there.
const HELLO: Duration = Duration::from_millis(300);
/// How long it may take to answer: it may be in the middle of a tick.
const ANSWER: Duration = Duration::from_secs(30);

/// What goes wrong between the command line and the daemon.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The daemon is of another version.
    #[error("the daemon (process {pid}) is of version {found}, this program of {own}")]
    Version {
        /// Its process.
        pid: u32,
        /// Its version.
        found: String,
        /// This program's.
        own: &'static str,
    },
    /// The token can't be read.
    #[error("{path}: {source}")]
    Token {
        /// The token's file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It did not answer, or not so that it could be understood.
    #[error("the daemon (process {pid}) does not answer: {source}")]
    Silent {
        /// Its process.
        pid: u32,
        /// Why.
        source: reqwest::Error,
    },
    /// Another program, or the daemon of another folder, answers where this folder's daemon was.
    #[error("what answers at {address} is not the daemon of this state folder")]
    Stranger {
        /// Where.
        address: SocketAddr,
    },
    /// It refused.
    #[error("{message}")]
    Refused {
        /// What it said.
        message: String,
        /// What to do; may be empty.
        hint: String,
        /// The status of the answer.
        status: u16,
    },
}

impl ClientError {
    /// What the user can do; may be empty.
    pub fn hint(&self) -> &str {
        match self {
            Self::Version { .. } => "restart the daemon with this version, or work without it by --no-daemon",
            Self::Token { .. } => "only the daemon's user can use it; work without it by --no-daemon",
            Self::Silent { .. } => {
                "it may have taken the order all the same: see `cupola status`; --no-daemon works without it"
            }
            Self::Stranger { .. } => "start this folder's `cupola daemon` again, or give --no-daemon",
            Self::Refused { hint, .. } => hint,
        }
    }

    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Version { .. } | Self::Token { .. } | Self::Stranger { .. } => ErrorClass::User,
            Self::Refused { status, .. } if *status < 500 => ErrorClass::User,
            Self::Silent { .. } | Self::Refused { .. } => ErrorClass::Transient,
        }
    }
}

/// A daemon that runs for a state folder.
#[derive(Debug)]
pub struct DaemonClient {
    file: DaemonFile,
    token: String,
    http: Client,
}

impl DaemonClient {
    /// The daemon of this folder; none where none runs or answers. Without a daemon file nothing is asked of anybody.
    pub fn find(dir: &StateDir) -> Result<Option<Self>, ClientError> {
        let Some(file) = read_daemon_file(dir).filter(DaemonFile::is_alive) else { return Ok(None) };
        let pid = file.pid;
        let silent = |source| ClientError::Silent { pid, source };
        // A proxy has no business on loopback.
        let http = Client::builder().no_proxy().timeout(ANSWER).build().map_err(silent)?;
        let hello = http.get(format!("http://{}/health", file.address)).timeout(HELLO).send();
        if !hello.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(None);
        }
        let own = env!("CARGO_PKG_VERSION");
        if file.version != own {
            let found = if file.version.is_empty() { "unknown" } else { &file.version };
            return Err(ClientError::Version { pid, found: found.to_owned(), own });
        }
        let path = token_file(dir);
        let token = std::fs::read_to_string(&path).map_err(|source| ClientError::Token { path, source })?;
        Ok(Some(Self { file, token: token.trim().to_owned(), http }))
    }

    /// Whether its process still lives.
    pub fn is_alive(&self) -> bool {
        self.file.is_alive()
    }

    /// Places an order; gives its id.
    pub fn apply(&self, body: &ApplyBody) -> Result<String, ClientError> {
        let answer = self.send(self.http.post(self.url("apply")).json(body))?;
        Ok(answer["order"].as_str().unwrap_or_default().to_owned())
    }

    /// Takes an order back; false where it has begun.
    pub fn withdraw(&self, order: &str) -> Result<bool, ClientError> {
        match self.send(self.http.delete(self.url(&format!("orders/{order}")))) {
            Ok(_) => Ok(true),
            Err(ClientError::Refused { status: 409, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn url(&self, route: &str) -> String {
        format!("http://{}/api/v1/{route}", self.file.address)
    }

    fn send(&self, request: RequestBuilder) -> Result<Value, ClientError> {
        let silent = |source| ClientError::Silent { pid: self.file.pid, source };
        let answer = request.bearer_auth(&self.token).send().map_err(silent)?;
        let status = answer.status();
        if status == StatusCode::UNAUTHORIZED {
            return Err(ClientError::Stranger { address: self.file.address });
        }
        let said: Value = answer.json().map_err(silent)?;
        if status.is_success() {
            return Ok(said);
        }
        let word = |field: &str| said["error"][field].as_str().unwrap_or_default().to_owned();
        Err(ClientError::Refused { message: word("message"), hint: word("hint"), status: status.as_u16() })
    }
}
