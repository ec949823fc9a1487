//! What the machine has.

use std::path::Path;

use serde::Serialize;

use crate::state::free_bytes;

/// Memory, disk and cores that a plan may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Cores.
    pub cores: u32,
    /// Memory of the machine, or of the control group that holds us; 0 where nobody says.
    pub memory_bytes: u64,
    /// Free bytes of the disk that state lies on; 0 where nobody says.
    pub free_bytes: u64,
}

impl Resources {
    /// Those of this machine, for state in this folder, which need not be there yet.
    pub fn detect(cores: u32, state: &Path) -> Self {
        let folder = state.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        Self { cores, memory_bytes: memory_bytes().unwrap_or(0), free_bytes: free_bytes(folder).unwrap_or(0) }
    }
}

fn memory_bytes() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let machine = line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024;
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    // `max` where the group has no limit.
    let group = group.and_then(|limit| limit.trim().parse::<u64>().ok());
    Some(group.map_or(machine, |limit| limit.min(machine)))
}
