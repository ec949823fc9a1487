//! The lock of a state folder: one orchestrator at a time, and the second one hears who the first is.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{StateDir, StateError};

/// Who holds a state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Host name.
    pub host: String,
    /// What it does: `apply`, `daemon`, `cancel`, …
    pub command: String,
    /// Since when, milliseconds since the Unix epoch.
    pub since_millis: i64,
    /// The epoch that it opened, or the newest one before it; 0 before the first.
    #[serde(default)]
    pub epoch: u64,
}

/// The lock while it is held; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct StateLock {
    file: File,
    path: PathBuf,
    holder: Holder,
}

/// How often a busy lock is tried again, and how long apart: a command that only looks who holds it does so for a moment.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(30);
/// Length of the lock file, bytes.
const PADDED: usize = 256;

impl Drop for StateLock {
    fn drop(&mut self) {
        // A process that another thread is about to start holds a copy of the descriptor until it executes; unlocking, unlike closing,
        // lets go at once. Should it fail, closing follows.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl StateLock {
    /// Takes the lock or says who has it.
    pub fn take(dir: &StateDir, command: &str, now_millis: i64) -> Result<Self, StateError> {
        let path = dir.lock();
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(StateError::io(&path))?;
        if !lock_patiently(&file) {
            let holder = read_holder(&mut file);
            let (pid, host) =
                holder.map_or((0, "an unknown host".to_owned()), |holder| (holder.pid, holder.host));
            return Err(StateError::Locked { path: dir.root().to_path_buf(), pid, host });
        }
        let epoch = read_holder(&mut file).map_or(0, |before| before.epoch);
        let holder = Holder {
            pid: std::process::id(),
            host: host_name(),
            command: command.to_owned(),
            since_millis: now_millis,
            epoch,
        };
        let mut lock = Self { file, path, holder };
        lock.write()?;
        Ok(lock)
    }

    /// The newest epoch that was opened in the folder, as far as the lock file knows.
    pub(super) fn last_epoch(&self) -> u64 {
        self.holder.epoch
    }

    /// Notes the epoch that is opened now: it is given to nobody else, even where the journal loses it.
    pub(super) fn note_epoch(&mut self, epoch: u64) -> Result<(), StateError> {
        self.holder.epoch = epoch;
        self.write()
    }

    fn write(&mut self) -> Result<(), StateError> {
        let mut text = serde_json::to_vec(&self.holder)?;
        // Padded, so that on a full disk the rewritten file needs no more room than it has.
        text.resize(text.len().max(PADDED), b' ');
        let file = &mut self.file;
        let mut write = || {
            file.rewind()?;
            file.write_all(&text)?;
            file.set_len(text.len() as u64)?;
            file.sync_data()
        };
        write().map_err(StateError::io(&self.path))
    }
}

/// Whether the lock could be taken within the tries.
fn lock_patiently(file: &File) -> bool {
    (0..TRIES).any(|attempt| {
        if attempt > 0 {
            std::thread::sleep(PAUSE);
        }
        flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
    })
}

/// Who holds the folder now; none where nobody does.
pub fn holder(dir: &StateDir) -> Option<Holder> {
    let mut file = File::open(dir.lock()).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    read_holder(&mut file)
}

/// This machine's name.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// This boot's id; empty where the system has none.
pub fn boot_id() -> String {
    static BOOT: LazyLock<String> = LazyLock::new(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        text.trim().to_owned()
    });
    BOOT.clone()
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_with_the_first_ones_pid_and_host() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let first = StateLock::take(&dir, "apply", 1).unwrap();
        let error = StateLock::take(&dir, "apply", 2).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()) && error.contains(&host_name()), "{error}");
        assert_eq!(holder(&dir).unwrap().command, "apply");
        drop(first);
        assert_eq!(holder(&dir), None);
        StateLock::take(&dir, "apply", 3).unwrap();
    }
}
