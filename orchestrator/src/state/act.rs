//! An act: what somebody did that changes state.

use serde::{Deserialize, Serialize};

/// What somebody did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Act {
    /// Who.
    pub actor: Actor,
    /// The command: `apply`, `promote`, `schedule pause`.
    pub verb: String,
    /// Its arguments, without secrets.
    pub arguments: Vec<String>,
    /// The run that it is about, where it names one.
    pub run: Option<String>,
    /// What came of it, where that is known when it is recorded; may be empty.
    pub result: String,
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Actor {
    /// The user's name; empty where nobody knows.
    pub user: String,
    /// The user's number.
    pub uid: u32,
    /// The host.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// What started the process.
    pub parent: String,
    /// On whose behalf: `api ADDRESS`, `schedule NAME`; empty for the user's own command.
    pub via: String,
}

impl Actor {
    /// `anna@host`, and on whose behalf.
    pub fn who(&self) -> String {
        let user = if self.user.is_empty() { "unknown" } else { &self.user };
        let at = if self.host.is_empty() { String::new() } else { format!("@{}", self.host) };
        let via = if self.via.is_empty() { String::new() } else { format!(" via {}", self.via) };
        format!("{user}{at}{via}")
    }
}
