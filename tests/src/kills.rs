//! Exact resume: whoever is killed, whenever, the next `apply` ends with the same bytes.
//!
//! `CUPOLA_KILLS` sets the number of kills for each stage (default 7; the promise was measured with 20).

use std::fs;
use std::path::Path;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cupola_tests::House;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process};

/// Hashes of what a stage's model folder promises to be identical.
fn fingerprints(folder: &Path) -> Vec<(String, blake3::Hash)> {
    ["model.safetensors", "training.json", "config.json"]
        .iter()
        .map(|name| ((*name).to_owned(), blake3::hash(&fs::read(folder.join(name)).unwrap())))
        .collect()
}

/// The process that runs `step` now: what the shim of its open attempt wrote down.
fn worker_pid(house: &House, step: &str) -> Option<i32> {
    let steps = house.json(["get", "steps"]).ok()?;
    let row = steps.as_array()?.iter().find(|row| row["name"] == step)?;
    let attempt = row["attempts"].as_array()?.last().filter(|attempt| attempt["ended_millis"].is_null())?;
    let started = fs::read(Path::new(attempt["dir"].as_str()?).join("started.json")).ok()?;
    let started: serde_json::Value = serde_json::from_slice(&started).ok()?;
    started["worker_pid"].as_i64().map(|pid| pid as i32)
}

/// Starts an `apply` and waits until the worker of `step` runs: the `apply` and the worker, none where the `apply` ended before it was seen.
pub(crate) fn start(house: &House, job: &str, step: &str) -> (Child, Option<i32>) {
    let mut apply = house.start(["apply", "spec.yaml", "--only", job]).unwrap();
    loop {
        let pid = worker_pid(house, step);
        if pid.is_some() || apply.try_wait().unwrap().is_some() {
            return (apply, pid);
        }
        sleep(Duration::from_millis(5));
    }
}

pub(crate) fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may have ended by itself a moment ago: then there is nothing to kill.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Applies up to `job` once, then again and again with a kill in it, and compares the bytes.
fn survives(house: &House, job: &str, step: &str, seed: u64) {
    let rounds: u64 = std::env::var("CUPOLA_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    house.ok(["apply", "spec.yaml", "--only", job]).unwrap();
    let folder = house.artifact(step).unwrap();
    let expected = fingerprints(&folder);
    fs::remove_dir_all(&folder).unwrap();
    let (mut apply, worker) = start(house, job, step);
    let begin = Instant::now();
    assert!(apply.wait().unwrap().success() && worker.is_some(), "{job}, undisturbed");
    let whole = begin.elapsed();
    assert_eq!(fingerprints(&folder), expected, "{job}, undisturbed");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut landed = 0;
    for round in 0..rounds {
        fs::remove_dir_all(&folder).unwrap();
        let (mut apply, worker) = start(house, job, step);
        sleep(whole.mul_f64(random.random_range(0.0..0.9)));
        let victim = worker_pid(house, step).filter(|pid| worker == Some(*pid));
        landed += u64::from(victim.is_some());
        // In turn: the orchestrator, its worker, both.
        if round % 3 != 1 {
            kill(apply.id() as i32);
        }
        if let Some(pid) = victim.filter(|_| round % 3 != 0) {
            kill(pid);
        }
        apply.wait().unwrap();
        house.ok(["apply", "spec.yaml", "--only", job]).unwrap();
        assert_eq!(fingerprints(&house.artifact(step).unwrap()), expected, "{job}, round {round}");
    }
    println!("{job}: {rounds} kills, {landed} of them while the step ran, which takes {whole:?} undisturbed");
    assert!(landed > 0, "no kill landed while {step} ran");
}

#[test]
fn killed_training_ends_with_the_same_bytes() {
    let house = House::new().unwrap();
    survives(&house, "base", "base", 1);
    survives(&house, "assistant", "assistant", 2);
    survives(&house, "aligned", "aligned/optimize", 3);
}
