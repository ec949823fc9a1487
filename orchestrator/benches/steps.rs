//! What a step costs that does nothing: a fan of no-op processes, each under its shim, with every transition flushed.
//!
//! `cargo bench -p cupola --bench steps [-- COUNT [SLOTS [ROUNDS]]]`. `tests/python/step_peers.py` runs it beside others.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use cupola::chaos::fan_plan;
use cupola::executor::LocalExecutor;
use cupola::plan::decide;
use cupola::run::{Console, Signals, Slots, SystemClock, World, apply};
use cupola::state::{RunState, State, StateDir};
use cupola::store::{Committer, Store};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

const ROUNDS: usize = 5;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let count = numbers.next();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    // With as many as cores a core waits while a step's start and its flushes follow each other.
    let slots = numbers.next().map_or_else(|| vec![cores, 2 * cores], |slots| vec![slots]);
    let rounds = numbers.next();
    let counts = count.map_or_else(|| vec![1_000, 10_000], |count| vec![count]);
    for (count, slots) in counts.iter().flat_map(|count| slots.iter().map(|slots| (*count, *slots))) {
        let rounds = rounds.unwrap_or(if count > 2_000 { 1 } else { ROUNDS });
        // Kept to the end, see `spread`.
        let ground = spread();
        let folders: Vec<_> = (0..rounds).map(|_| tempfile::tempdir_in(ground.path()).unwrap()).collect();
        let fan = |folder: &tempfile::TempDir| fan(&StateDir::new(folder.path()), count, slots as u32);
        let mut seconds: Vec<f64> = folders.iter().map(fan).collect();
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        println!(
            "{count:>6} steps, {slots} slots: {median:.2} s, {:.2} ms a step (median of {rounds})",
            median * 1e3 / count as f64
        );
    }
}

/// A folder whose folders ext4 lays far apart. Where many files were deleted a moment ago, as by the last run of this benchmark, it makes
/// new ones slowly: without a journal it passes over each inode that was freed within minutes.
fn spread() -> tempfile::TempDir {
    let ground = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = std::fs::File::open(ground.path()).unwrap();
    // Other file systems know nothing of it, nor have they the trouble.
    if let Ok(flags) = ioctl_getflags(&folder) {
        let _ = ioctl_setflags(&folder, flags | IFlags::TOPDIR);
    }
    ground
}

/// Seconds of one run, in a state folder on the disk of the project: a file system in memory has no flush to wait for.
fn fan(dir: &StateDir, count: usize, cores: u32) -> f64 {
    let since = Instant::now();
    let plan = fan_plan(Path::new("fan.yaml"), count).unwrap();
    let mut state = State::open(dir, "bench").unwrap();
    let store = Store::new(dir);
    let decisions = decide(&plan, None, state.projection(), &|kind, of| store.contains(kind, of)).unwrap();
    let (shim, worker) = (env!("CARGO_BIN_EXE_cupola-shim"), env!("CARGO_BIN_EXE_cupola-drill"));
    let executor = LocalExecutor::new(PathBuf::from(shim), PathBuf::from(worker)).unwrap();
    let artifacts = Committer::new(store, &executor.waker()).unwrap();
    let world = World { executor, clock: SystemClock::default(), artifacts };
    let mut console = Console { signals: &Signals::default(), requests: &mut Vec::new, show: &mut |_, _| {} };
    let slots = Slots { cores, devices: 0, memory_bytes: Slots::ANY_MEMORY };
    let applied = apply(&mut state, &plan, &decisions, world, (slots, &mut console)).unwrap();
    drop(state);
    let seconds = since.elapsed().as_secs_f64();
    assert_eq!(applied.run.state, RunState::Succeeded);
    seconds
}
