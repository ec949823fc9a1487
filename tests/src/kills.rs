//! Exact resume: whoever is killed, whenever, also while a state is being written, the next `apply` ends with the same bytes.
//!
//! `CUPOLA_KILLS` sets the number of kills of pretraining (default 8; the promise was measured with 50). The other stages, which share the loop and
//! the states, have half as many, up to a most of their own. One kill in four asks the worker to stop instead, which is a promise too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cupola_tests::House;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process};

/// Hashes of what a stage's folder promises to be identical: weights, record and sizes, or the runs of a sweep but for their times.
fn fingerprints(folder: &Path) -> Vec<(String, blake3::Hash)> {
    let mut found = Vec::new();
    for name in
        ["model.safetensors", "score.safetensors", "training.json", "config.json", "seal.json", "runs.json"]
    {
        let Ok(mut content) = fs::read(folder.join(name)) else { continue };
        if name == "runs.json" {
            let mut runs: serde_json::Value = serde_json::from_slice(&content).unwrap();
            for run in runs.as_array_mut().unwrap() {
                run.as_object_mut().unwrap().remove("secs").unwrap();
            }
            content = serde_json::to_vec(&runs).unwrap();
        }
        found.push((name.to_owned(), blake3::hash(&content)));
    }
    assert!(!found.is_empty(), "{} holds nothing to compare", folder.display());
    found
}

/// The folder of the open attempt of `step`.
pub(crate) fn attempt_folder(house: &House, step: &str) -> Option<PathBuf> {
    let steps = house.json(["get", "steps"]).ok()?;
    let row = steps.as_array()?.iter().find(|row| row["name"] == step)?;
    let attempt = row["attempts"].as_array()?.last().filter(|attempt| attempt["ended_millis"].is_null())?;
    Some(PathBuf::from(attempt["dir"].as_str()?))
}

/// The process that runs `step` now: what the shim of its open attempt wrote down.
fn worker_pid(house: &House, step: &str) -> Option<i32> {
    let started = fs::read(attempt_folder(house, step)?.join("started.json")).ok()?;
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

pub(crate) fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may have ended by itself a moment ago: then there is nobody to hear it.
        let _ = kill_process(pid, signal);
    }
}

/// Waits until the worker begins to write a state, for the `nth` time since now; false where the `apply` ends before.
fn sees_a_write(states: &Path, mut nth: u64, apply: &mut Child) -> bool {
    let mut was_writing = false;
    loop {
        let files = fs::read_dir(states).into_iter().flatten().flatten();
        let is_writing =
            files.into_iter().any(|file| file.path().extension().is_some_and(|end| end == "partial"));
        if is_writing && !was_writing {
            nth -= 1;
            if nth == 0 {
                return true;
            }
        }
        was_writing = is_writing;
        if apply.try_wait().unwrap().is_some() {
            return false;
        }
        sleep(Duration::from_micros(100));
    }
}

/// A stage that is killed.
struct Stage {
    job: &'static str,
    step: &'static str,
    /// Most kills, but for pretraining.
    most: u64,
    /// About as many states as it writes; 0 where it is not worth waiting for one.
    states: u64,
}

/// Kills that landed.
#[derive(Debug, Default)]
struct Landed {
    at_random: u64,
    in_a_write: u64,
    asked_to_stop: u64,
}

/// Applies up to a job once, then again and again with a kill in it, and compares the bytes.
fn survives(house: &House, stage: &Stage, seed: u64) {
    let Stage { job, step, most, states } = *stage;
    let asked: u64 = std::env::var("CUPOLA_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let rounds = if job == "base" { asked } else { asked.div_ceil(2).min(most) };
    house.ok(["apply", "spec.yaml", "--only", job]).unwrap();
    let folder = house.artifact(step).unwrap();
    let expected = fingerprints(&folder);
    fs::remove_dir_all(&folder).unwrap();
    let (mut apply, worker) = start(house, job, step);
    let begin = Instant::now();
    assert!(apply.wait().unwrap().success() && worker.is_some(), "{job}, undisturbed");
    let whole = begin.elapsed();
    assert_eq!(fingerprints(&folder), expected, "{job}, undisturbed");
    let checkpoints = house.state().join("steps").join(folder.file_name().unwrap()).join("checkpoints");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut landed = Landed::default();
    for round in 0..rounds {
        fs::remove_dir_all(&folder).unwrap();
        let (mut apply, worker) = start(house, job, step);
        // In turn: at a random moment, the moment a state is being written, and again.
        let in_a_write = round % 2 == 1 && states > 0;
        let has_come = if in_a_write {
            sees_a_write(&checkpoints, random.random_range(1..=states), &mut apply)
        } else {
            sleep(whole.mul_f64(random.random_range(0.0..0.9)));
            worker_pid(house, step).is_some_and(|pid| worker == Some(pid))
        };
        let victim = worker.filter(|_| has_come);
        // In turn: the worker, its orchestrator too, the orchestrator alone; the worker asked to stop.
        let (orchestrator, signal) = match round / 2 % 4 {
            0 => (false, Some(Signal::KILL)),
            1 => (true, Some(Signal::KILL)),
            2 => (true, None),
            _ => (false, Some(Signal::TERM)),
        };
        if let (Some(pid), Some(signal)) = (victim, signal) {
            send(pid, signal);
        }
        if orchestrator {
            send(apply.id() as i32, Signal::KILL);
        }
        match (victim, signal, in_a_write) {
            (None, ..) => {}
            (_, Some(Signal::TERM), _) => landed.asked_to_stop += 1,
            (_, _, true) => landed.in_a_write += 1,
            (_, _, false) => landed.at_random += 1,
        }
        apply.wait().unwrap();
        house.ok(["apply", "spec.yaml", "--only", job]).unwrap();
        assert_eq!(fingerprints(&house.artifact(step).unwrap()), expected, "{job}, round {round}");
    }
    println!("{step}: {rounds} kills, {landed:?}; undisturbed the step takes {whole:?}");
    let all = landed.at_random + landed.in_a_write + landed.asked_to_stop;
    assert!(all > 0, "no kill landed while {step} ran");
}

/// The events of an attempt so far.
pub(crate) fn events(attempt: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(attempt.join("events.jsonl")).unwrap_or_default();
    // The last line may still be in the making.
    text.lines().map_while(|line| serde_json::from_str(line).ok()).collect()
}

/// A worker that is asked to stop in the middle of its work saves the last step that it did, and ends long before its grace time of a minute.
fn saves_when_it_is_asked_to_stop(house: &House) {
    let (mut apply, worker) = start(house, "base", "base");
    let (attempt, worker) = (attempt_folder(house, "base").unwrap(), worker.unwrap());
    let has = |name: &str| events(&attempt).iter().any(|event| event["event"] == name);
    while !has("checkpoint") {
        assert!(apply.try_wait().unwrap().is_none() && !has("failed"), "no state was saved");
        sleep(Duration::from_millis(1));
    }
    send(worker, Signal::TERM);
    let asked = Instant::now();
    while !has("failed") {
        assert!(asked.elapsed() < Duration::from_secs(30), "it goes on");
        sleep(Duration::from_millis(1));
    }
    let took = asked.elapsed();
    let events = events(&attempt);
    let last = |name: &str| events.iter().rev().find(|event| event["event"] == name).unwrap();
    assert_eq!(last("failed")["code"], "cancelled");
    let (done, saved) = (last("progress")["done"].as_f64().unwrap(), &last("checkpoint")["step"]);
    println!("asked to stop after step {done}, the worker saved and ended in {took:?}");
    assert_eq!(saved.as_f64(), Some(done));
    assert!(apply.wait().unwrap().success(), "the next attempt goes on");
}

/// PPO with a reward model of its own, on the preferences of the other policy.
const PPO: &str = "
  played:
    kind: rlhf
    method: ppo
    policy: assistant
    prompts: corpus.pairs
    pairs: 48
    samples: 4
    max_new_tokens: 24
    epochs: 2
    rollouts: 48
    rollout_batch: 16
    labeler: { kind: reference }
    batch: { global_tokens: 2048, micro_batch: 4 }
    context: { length: 256 }
    checkpoint: { every: 2 steps, keep: 2 }
  report:
";

#[test]
fn killed_training_ends_with_the_same_bytes() {
    let house = House::new().unwrap();
    saves_when_it_is_asked_to_stop(&house);
    survives(&house, &Stage { job: "base", step: "base", most: u64::MAX, states: 26 }, 1);
}

#[test]
fn killed_sweeps_and_stages_after_pretraining_end_with_the_same_bytes() {
    let house = House::new().unwrap();
    house.edit_spec("\n  report:\n", PPO).unwrap();
    let stages = [
        Stage { job: "law", step: "law/sweep[transformer,2]", most: 4, states: 0 },
        Stage { job: "assistant", step: "assistant", most: 20, states: 6 },
        Stage { job: "aligned", step: "aligned/optimize", most: 20, states: 6 },
        Stage { job: "played", step: "played/reward_model", most: 4, states: 2 },
        Stage { job: "played", step: "played/optimize", most: 4, states: 4 },
    ];
    for (seed, stage) in stages.iter().enumerate() {
        survives(&house, stage, seed as u64 + 2);
    }
}
