//! Curves in the hands of their readers: TensorBoard's own loader reads the event files, MLflow's own server is told of a run and asked for it.
//! A worker is killed on the way: neither has a step twice, or lacks one.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cupola_tests::{House, repository};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::kills::{send, start};

/// Curves by name: steps and values.
type Curves = BTreeMap<String, Vec<(u64, f64)>>;

/// A Python with peers, which `make test` sets up; none where only `cargo test` was called.
fn python(folder: &str) -> Option<PathBuf> {
    let python = repository().join(folder).join("bin/python");
    if python.exists() {
        return Some(python);
    }
    println!("skipped: {folder} with the peers is missing; `make test` sets it up");
    None
}

/// Appends a section to the spec.
fn with_telemetry(house: &House, section: &str) {
    let text = fs::read_to_string(house.spec()).unwrap();
    let text = text.replace("    forecast: law\n", "");
    fs::write(house.spec(), format!("{text}telemetry:\n{section}")).unwrap();
}

/// Trains `base`, whose worker is killed once it has a state, and gives the folder of its curves.
fn train_through_a_kill(house: &House) -> PathBuf {
    let (mut apply, worker) = start(house, "base", "base");
    let worker = worker.expect("the training is seen while it runs");
    let begin = Instant::now();
    let curves = loop {
        let found = folders(&house.state().join("runs"))
            .into_iter()
            .flat_map(|run| folders(&run.join("telemetry")))
            .find(|folder| {
                folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("base-"))
            });
        let lines =
            found.as_ref().map(|folder| fs::read_to_string(folder.join("metrics.csv")).unwrap_or_default());
        if let (Some(folder), true) = (found, lines.is_some_and(|text| text.contains(",10,loss,"))) {
            break folder;
        }
        assert!(begin.elapsed() < Duration::from_mins(2), "no curves after {:?}", begin.elapsed());
        sleep(Duration::from_millis(2));
    };
    send(worker, Signal::KILL);
    assert!(apply.wait().unwrap().success());
    let steps = house.json(["get", "steps"]).unwrap();
    let base = steps.as_array().unwrap().iter().find(|step| step["name"] == "base").unwrap();
    assert_eq!(base["attempts"].as_array().unwrap().len(), 2, "{base}");
    curves
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// The numbers of `metrics.csv`; each step of a curve is there once and in order.
fn csv_curves(folder: &Path) -> Curves {
    let mut curves = Curves::new();
    for line in fs::read_to_string(folder.join("metrics.csv")).unwrap().lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let point = (fields[1].parse().unwrap(), fields[3].parse().unwrap());
        curves.entry(fields[2].to_owned()).or_default().push(point);
    }
    for (name, points) in &curves {
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0), "{name}: {points:?}");
    }
    curves
}

fn training_record(house: &House) -> Value {
    let text = fs::read(house.artifact("base").unwrap().join("training.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// The curves of `training.json`, of which every step of a short run is one.
fn trained_curves(house: &House) -> (Curves, u64) {
    let record = training_record(house);
    let points = |points: &Value| -> Vec<(u64, f64)> {
        let points = points.as_array().unwrap().iter();
        points.map(|point| (point["step"].as_u64().unwrap(), point["value"].as_f64().unwrap())).collect()
    };
    let curves = record["curves"].as_object().unwrap().iter();
    (curves.map(|(name, curve)| (name.clone(), points(curve))).collect(), record["steps"].as_u64().unwrap())
}

/// Rows that the run read by the stretches that it recorded.
fn rows_read(house: &House) -> u64 {
    let record = training_record(house);
    let number = |phase: &Value, name: &str| phase[name].as_u64().unwrap();
    let rows = |phase: &Value| {
        (number(phase, "end_step") - number(phase, "begin_step")) * number(phase, "step_rows")
    };
    record["phases"].as_array().unwrap().iter().map(rows).sum()
}

fn curves_of(value: &Value) -> Curves {
    let points = |points: &Value| -> Vec<(u64, f64)> {
        let points = points.as_array().unwrap().iter();
        points.map(|point| (point[0].as_u64().unwrap(), point[1].as_f64().unwrap())).collect()
    };
    value.as_object().unwrap().iter().map(|(name, curve)| (name.clone(), points(curve))).collect()
}

fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}:\n{said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn tensorboard_reads_every_step_once_though_the_worker_was_killed() {
    let house = House::new().unwrap();
    with_telemetry(&house, "  tensorboard: true\n  csv: true\n  jsonl: true\n");
    let folder = train_through_a_kill(&house);
    let written = csv_curves(&folder);
    let (trained, steps) = trained_curves(&house);
    for name in ["loss", "lr", "grad_norm"] {
        assert_eq!(written[name], trained[name], "{name} as in training.json, bit by bit");
        assert_eq!(written[name].len() as u64, steps);
    }
    for name in ["mfu", "tokens_per_sec", "step_secs", "data_rows", "peak_rss_bytes", "validation_bpb"] {
        assert!(written[name].iter().all(|point| point.1 > 0.0), "{name}: {:?}", written[name]);
    }
    let run = house.json(["get", "metrics", "base"]).unwrap();
    let rows = run["base"]["data_rows"].as_array().unwrap().last().unwrap()[1].as_f64().unwrap();
    assert_eq!(rows as u64, rows_read(&house));
    let Some(python) = python(".venv") else { return };
    let script = repository().join("tests/python/tensorboard_peer.py");
    let read: Value = serde_json::from_str(&output(Command::new(python).arg(script).arg(&folder))).unwrap();
    let single = |points: &[(u64, f64)]| -> Vec<(u64, f64)> {
        points.iter().map(|(step, value)| (*step, f64::from(*value as f32))).collect()
    };
    let expected: Curves = written.iter().map(|(name, points)| (name.clone(), single(points))).collect();
    assert_eq!(curves_of(&read["scalars"]), expected);
    let samples = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let samples = samples.lines().filter(|line| line.contains("\"prompt\"")).count();
    assert_eq!(read["texts"]["samples/1"].as_array().unwrap().len(), samples);
    assert!(read["texts"]["parameters"][0][1].as_str().unwrap().contains("| tokens."), "{}", read["texts"]);
}

/// MLflow's server; killed with its workers when dropped.
struct Mlflow {
    process: Child,
    url: String,
}

impl Mlflow {
    fn start(python: &Path, folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let log = fs::File::create(folder.join("mlflow.log")).unwrap();
        let process = Command::new(python)
            .args([
                "-m",
                "mlflow",
                "server",
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--workers",
                "1",
            ])
            .arg("--backend-store-uri")
            .arg(format!("sqlite:///{}", folder.join("mlflow.db").display()))
            .arg("--artifacts-destination")
            .arg(folder.join("mlflow-artifacts"))
            .current_dir(folder)
            .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
            .env("HOME", folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self { process, url };
        let begin = Instant::now();
        while server.get("/health", &[]).is_none() {
            let log = || fs::read_to_string(folder.join("mlflow.log")).unwrap_or_default();
            assert!(server.process.try_wait().unwrap().is_none(), "the server ended:\n{}", log());
            assert!(begin.elapsed() < Duration::from_mins(2), "the server does not listen:\n{}", log());
            sleep(Duration::from_millis(100));
        }
        server
    }

    fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<String> {
        let request = reqwest::blocking::Client::new().get(format!("{}{path}", self.url)).query(query);
        let response = request.send().ok().filter(|response| response.status().is_success())?;
        response.text().ok()
    }

    fn json(&self, path: &str, query: &[(&str, &str)]) -> Value {
        serde_json::from_str(&self.get(&format!("/api/2.0/mlflow/{path}"), query).unwrap()).unwrap()
    }
}

impl Drop for Mlflow {
    fn drop(&mut self) {
        // It is a program that starts a server that starts workers: they are one group, which goes as a whole.
        if let Some(group) = Pid::from_raw(self.process.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.process.wait();
    }
}

#[test]
fn mlflows_server_has_one_run_with_every_curve_though_the_worker_was_killed() {
    let Some(python) = python(".venv-mlflow") else { return };
    let house = House::new().unwrap();
    let server = Mlflow::start(&python, house.path());
    with_telemetry(
        &house,
        &format!("  csv: true\n  mlflow: {{ url: \"{}\", experiment: peers }}\n", server.url),
    );
    let folder = train_through_a_kill(&house);
    let written = csv_curves(&folder);
    let experiment = server.json("experiments/get-by-name", &[("experiment_name", "peers")]);
    let experiment = experiment["experiment"]["experiment_id"].as_str().unwrap().to_owned();
    let body = serde_json::json!({ "experiment_ids": [experiment] });
    let search = format!("{}/api/2.0/mlflow/runs/search", server.url);
    let found = reqwest::blocking::Client::new().post(search).json(&body).send().unwrap().text().unwrap();
    let found: Value = serde_json::from_str(&found).unwrap();
    let base: Vec<&Value> = found["runs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|run| run["info"]["run_name"].as_str().is_some_and(|name| name.ends_with("/base")))
        .collect();
    assert_eq!(base.len(), 1, "both attempts are one run: {found}");
    let info = &base[0]["info"];
    assert_eq!(info["status"], "FINISHED");
    let params = base[0]["data"]["params"].as_array().unwrap();
    assert!(
        params.iter().any(|param| param["key"] == "context_length" && param["value"] == "128"),
        "{params:?}"
    );
    let run = info["run_id"].as_str().unwrap();
    for name in ["loss", "lr", "grad_norm", "validation_bpb", "mfu"] {
        let history = server.json("metrics/get-history", &[("run_id", run), ("metric_key", name)]);
        let mut points: Vec<(u64, f64)> = history["metrics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|point| (point["step"].as_u64().unwrap_or(0), point["value"].as_f64().unwrap()))
            .collect();
        points.sort_by_key(|point| point.0);
        assert!(
            points.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "{name}: a step is there once: {points:?}"
        );
        let known: BTreeMap<u64, f64> = written[name].iter().copied().collect();
        for (step, value) in &points {
            // What depends on the clock is another number in the attempt that was killed.
            assert!(
                name == "mfu" || known[step].to_bits() == value.to_bits(),
                "{name} at {step}: {value} and {}",
                known[step]
            );
        }
        let last = written[name].last().unwrap().0;
        assert_eq!(points.last().unwrap().0, last, "{name}");
    }
    let history = server.json("metrics/get-history", &[("run_id", run), ("metric_key", "validation_bpb")]);
    assert_eq!(history["metrics"].as_array().unwrap().len(), written["validation_bpb"].len());
}
