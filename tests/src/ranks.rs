//! Ranks as processes: the first one starts the others, an attempt whose rank dies is tried again by itself, and the model is that of one
//! rank but for rounding.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cupola_tests::House;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How far losses of another number of ranks may be, nats a token, after the whole run.
const LOSS_LIMIT: f64 = 1e-4;

fn training(house: &House) -> Value {
    let path = house.artifact("base").unwrap().join("training.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The attempts of the newest run at `base`.
fn attempts(house: &House) -> Vec<Value> {
    let Ok(steps) = house.json(["get", "steps"]) else { return Vec::new() };
    let row = steps.as_array().and_then(|rows| rows.iter().find(|row| row["name"] == "base").cloned());
    row.and_then(|row| row["attempts"].as_array().cloned()).unwrap_or_default()
}

/// The processes that a process started.
fn children(pid: i64) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

fn saved_states(attempt: &Path) -> usize {
    let text = fs::read_to_string(attempt.join("events.jsonl")).unwrap_or_default();
    text.lines().filter(|line| line.contains("\"event\":\"checkpoint\"")).count()
}

/// Kills a rank of the running attempt once it has saved a state: a rank other than the first, or the first. Gives the ranks' processes.
fn kill_one(house: &House, is_first: bool) -> Vec<i32> {
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < Duration::from_mins(2), "no attempt of two ranks saved a state");
        sleep(Duration::from_millis(5));
        let Some(attempt) = attempts(house).pop().filter(|attempt| attempt["ended_millis"].is_null()) else {
            continue;
        };
        let (Some(first), Some(folder)) = (attempt["worker_pid"].as_i64(), attempt["dir"].as_str()) else {
            continue;
        };
        let others = children(first);
        if others.is_empty() || saved_states(Path::new(folder)) == 0 {
            continue;
        }
        let all: Vec<i32> = others.iter().copied().chain([first as i32]).collect();
        kill(if is_first { first as i32 } else { others[0] });
        return all;
    }
}

#[test]
fn a_killed_rank_is_named_and_the_run_ends_by_itself_with_the_model_of_one_rank() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        println!("skipped: this machine has one core, and two ranks are refused");
        return;
    }
    let house = House::new().unwrap();
    house.edit_spec("depth: 1 }\n    tokens: 80K", "depth: 1 }\n    tokens: 160K").unwrap();
    house.ok(["apply", "spec.yaml", "--only", "base"]).unwrap();
    let alone = training(&house);
    house
        .edit_spec(
            "    forecast: law\n    batch",
            "    forecast: law\n    parallel: { data: 2, zero: 1, timeout: 30s }\n    recompute: blocks\n    batch",
        )
        .unwrap();
    let plan = house.json(["plan", "spec.yaml", "--only", "base"]).unwrap();
    assert!(plan["steps"].as_array().unwrap().iter().all(|step| step["action"] == "cached"), "{plan}");
    for is_first in [false, true] {
        fs::remove_dir_all(house.artifact("base").unwrap()).unwrap();
        let mut apply = house.start(["apply", "spec.yaml", "--only", "base"]).unwrap();
        let processes = kill_one(&house, is_first);
        assert!(
            apply.wait().unwrap().success(),
            "{}",
            fs::read_to_string(house.path().join("background.log")).unwrap()
        );
        let attempts = attempts(&house);
        let (lost, last) = (&attempts[attempts.len() - 2], &attempts[attempts.len() - 1]);
        println!("first rank: {is_first}; the attempt that lost a rank: {}", lost["error"]);
        assert_eq!((&lost["error"]["class"], &last["outcome"]), (&"transient".into(), &"succeeded".into()));
        if !is_first {
            assert_eq!(lost["error"]["code"], "rank_lost");
            let message = lost["error"]["message"].as_str().unwrap();
            assert!(message.starts_with("rank 1 was ended by signal 9: rank 0: "), "{message}");
            assert!(message.contains(" failed after "), "{message}");
        }
        let log = fs::read_to_string(Path::new(last["dir"].as_str().unwrap()).join("events.jsonl")).unwrap();
        assert!(log.contains("resumes after optimiser step"), "{log}");
        assert!(
            processes.iter().all(|pid| children(i64::from(*pid)).is_empty() && !is_cupola(*pid)),
            "a rank lives on"
        );
        let shared = training(&house);
        let loss = |record: &Value| record["finals"]["validation_loss"]["value"].as_f64().unwrap();
        let apart = (loss(&alone) - loss(&shared)).abs();
        println!("validation loss {} by one rank, {} by two: {apart:.1e} apart", loss(&alone), loss(&shared));
        assert!(apart < LOSS_LIMIT);
        assert_eq!(alone["tokens"], shared["tokens"]);
    }
}

fn is_cupola(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("cupola"))
}
