//! The daemon's files in the state folder: where it listens, and the token that a client must show.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use super::DaemonError;
use crate::state::StateDir;

/// `daemon.json`: how to reach the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonFile {
    /// Its process.
    pub pid: u32,
    /// Where the control API listens.
    pub address: SocketAddr,
    /// Its version; empty of one that did not say.
    #[serde(default)]
    pub version: String,
    /// Since when, milliseconds since the Unix epoch.
    pub since_millis: i64,
}

fn path(dir: &StateDir) -> PathBuf {
    dir.root().join("daemon.json")
}

/// The file with the bearer token; only its owner can read it.
pub fn token_file(dir: &StateDir) -> PathBuf {
    dir.root().join("daemon.token")
}

impl DaemonFile {
    /// Whether a process of its id lives: one that was killed leaves its file behind.
    pub fn is_alive(&self) -> bool {
        Pid::from_raw(self.pid as i32).is_some_and(|pid| test_kill_process(pid).is_ok())
    }
}

/// How to reach the daemon of a state folder; none where none was started or the last one ended as it should.
pub fn read_daemon_file(dir: &StateDir) -> Option<DaemonFile> {
    serde_json::from_slice(&std::fs::read(path(dir)).ok()?).ok()
}

pub(super) fn write_daemon_file(dir: &StateDir, file: &DaemonFile) -> Result<(), DaemonError> {
    let path = path(dir);
    std::fs::write(&path, serde_json::to_vec_pretty(file)?).map_err(DaemonError::io(&path))
}

pub(super) fn remove_daemon_file(dir: &StateDir) {
    // Without the file the next daemon starts as well: it tests whether the process is alive.
    let _ = std::fs::remove_file(path(dir));
}

/// The token: made once, 32 random bytes as hex, in a file of mode 0600.
pub(super) fn token(dir: &StateDir) -> Result<String, DaemonError> {
    let path = token_file(dir);
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().len() == 64 => return Ok(text.trim().to_owned()),
        Ok(_) => std::fs::remove_file(&path).map_err(DaemonError::io(&path))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(DaemonError::Io { path, source }),
    }
    let mut random = [0u8; 32];
    let source = PathBuf::from("/dev/urandom");
    std::fs::File::open(&source)
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(DaemonError::io(&source))?;
    let text = blake3::Hash::from_bytes(random).to_hex().to_string();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(DaemonError::io(&path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(DaemonError::io(&path))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_token_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let first = token(&dir).unwrap();
        assert_eq!(first.len(), 64);
        assert_eq!(token(&dir).unwrap(), first);
        let mode = std::fs::metadata(token_file(&dir)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
