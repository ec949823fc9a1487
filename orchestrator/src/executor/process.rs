//! The process table: who lives, told apart from a reused pid by start time and boot.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::state::boot_id;

/// A process that can't be mistaken for a later one with the same pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot.
    pub start_ticks: u64,
    /// The machine's boot id.
    pub boot_id: String,
}

impl ProcessId {
    /// The process with this pid now; none where there is none.
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, start_ticks: stat(pid)?.start_ticks, boot_id: boot_id() })
    }

    /// This process.
    pub fn current() -> Option<Self> {
        Self::of(std::process::id())
    }
}

/// Whether the process lives; a zombie does not.
pub fn is_alive(id: &ProcessId) -> bool {
    id.boot_id == boot_id()
        && stat(id.pid)
            .is_some_and(|stat| stat.start_ticks == id.start_ticks && !matches!(stat.state, 'Z' | 'X'))
}

/// A live process that was given this path as an argument; none where there is none. `except` is left out.
pub fn find_by_argument(path: &Path, except: u32) -> Option<ProcessId> {
    let wanted = path.as_os_str().as_encoded_bytes();
    find(&|argument| argument == wanted, except)
}

/// A live process, not this one, that was given a path below this folder as an argument.
pub fn find_below(folder: &Path) -> Option<ProcessId> {
    let mut below = folder.as_os_str().as_encoded_bytes().to_vec();
    below.push(b'/');
    find(&|argument| argument.starts_with(&below), std::process::id())
}

fn find(is_wanted: &dyn Fn(&[u8]) -> bool, except: u32) -> Option<ProcessId> {
    let pids = std::fs::read_dir("/proc").ok()?.flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != except).find_map(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let id = ProcessId::of(pid)?;
        (line.split(|byte| *byte == 0).any(is_wanted) && is_alive(&id)).then_some(id)
    })
}

struct Stat {
    state: char,
    start_ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    // One read: the line is shorter than this.
    let mut line = [0; 1024];
    let length = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut line).ok()?;
    // The second field is the name in brackets and may hold anything.
    let text = String::from_utf8_lossy(&line[..length]);
    let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat { state: fields.first()?.chars().next()?, start_ticks: number(19)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_another_with_its_pid_does_not() {
        let mut id = ProcessId::current().unwrap();
        assert!(is_alive(&id));
        id.start_ticks += 1;
        assert!(!is_alive(&id));
        let mut child = std::process::Command::new("sleep").arg("/no/such/attempt").arg("5").spawn().ok();
        if let Some(child) = child.as_mut() {
            let _ = child.kill();
            let zombie = ProcessId::of(child.id());
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(zombie.is_none_or(|id| !is_alive(&id)));
            let _ = child.wait();
        }
    }
}
