//! Who used the processor during a measurement.

use std::collections::BTreeMap;
use std::time::Instant;

/// Ticks of the kernel's clock a second: fixed for programs.
const TICKS: f64 = 100.0;

/// The processor's times at a moment.
#[derive(Debug)]
pub(crate) struct Moment {
    at: Instant,
    /// Seconds of all processors, of a hypervisor's other guests too.
    busy: f64,
    /// Seconds of the measured process with its children.
    server: f64,
    /// Seconds of this process.
    client: f64,
}

/// Who used how much between two moments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares {
    /// Of all processors, what neither side of the measurement used.
    pub(crate) others: f64,
    /// Of one processor, what the client used.
    pub(crate) client: f64,
}

impl Moment {
    pub(crate) fn now(server: u32) -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        let numbers: Vec<f64> = stat
            .lines()
            .next()
            .unwrap()
            .split_whitespace()
            .skip(1)
            .map(|word| word.parse().unwrap())
            .collect();
        // user, nice, system, (idle, iowait,) irq, softirq, steal
        let busy = [0, 1, 2, 5, 6, 7].iter().map(|&at| numbers[at]).sum::<f64>() / TICKS;
        let times = process_times();
        let client = times[&std::process::id()].1;
        Self { at: Instant::now(), busy, server: tree_seconds(&times, server), client }
    }

    /// What was used since then.
    pub(crate) fn shares_until(&self, later: &Self) -> Shares {
        let seconds = (later.at - self.at).as_secs_f64();
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let client = later.client - self.client;
        let others = (later.busy - self.busy) - (later.server - self.server) - client;
        Shares { others: (others / (seconds * cores)).max(0.0), client: client / seconds }
    }
}

/// Each process's parent and seconds.
fn process_times() -> BTreeMap<u32, (u32, f64)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let times = pids.filter_map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in brackets may have spaces in it.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let seconds = (fields[11].parse::<f64>().ok()? + fields[12].parse::<f64>().ok()?) / TICKS;
        Some((pid, (fields[1].parse().ok()?, seconds)))
    });
    times.collect()
}

/// Seconds of a process and all that it started.
fn tree_seconds(times: &BTreeMap<u32, (u32, f64)>, root: u32) -> f64 {
    let own = times.get(&root).map_or(0.0, |(_, seconds)| *seconds);
    let children = times.iter().filter(|(_, (parent, _))| *parent == root);
    own + children.map(|(&child, _)| tree_seconds(times, child)).sum::<f64>()
}
