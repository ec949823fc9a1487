//! What is served, by the real program: gates, approval, rolling back, the audit log, and what may be deleted.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cupola::promote::{is_synced, read_served};
use cupola::state::{StateDir, read_state};
use serde_json::{Value, json};

const SECRET: &str = "sk-abcdefgh12345678";

struct House {
    folder: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let house = Self { folder: tempfile::tempdir().unwrap() };
        house.write("worker.sh", include_str!("worker.sh"));
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(house.path("worker.sh"), all).unwrap();
        house.write("house.yaml", include_str!("spec.yaml"));
        house.write("text.txt", "Some words to learn from.\n");
        house.measures((0.52, 0.6, 0.67), 1.0);
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn dir(&self) -> StateDir {
        StateDir::new(&self.path("state"))
    }

    /// What the next report says.
    fn measures(&self, (low, value, high): (f64, f64, f64), bpb: f64) {
        let row = |suite: &str, metric: &str, (low, value, high): (f64, f64, f64), higher_is_better: bool| {
            json!({ "suite": suite, "model": "tuned", "metric": metric, "value": value, "stderr": 0.01, "low": low, "high": high,
                "n": 200, "method": "", "chance": null, "higher_is_better": higher_is_better })
        };
        let rows = [
            row("judge", "win_rate", (low, value, high), true),
            row("perplexity", "bpb", (bpb - 0.01, bpb, bpb + 0.01), false),
        ];
        let report = json!({ "models": ["base", "tuned"], "rows": rows, "samples": [] });
        self.write("report.json", &report.to_string());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cupola"));
        command.args(arguments).current_dir(self.folder.path());
        command.env("CUPOLA_STATE", self.path("state")).env("CUPOLA_WORKER", self.path("worker.sh"));
        // `doctor` looks for a library there that no test of this crate needs.
        command.stdin(Stdio::null()).env_remove("LIBTORCH");
        command
    }

    /// Output and exit code.
    fn tell(&self, arguments: &[&str]) -> (String, i32) {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        (text, status.code().unwrap())
    }

    fn done(&self, arguments: &[&str]) -> String {
        let (text, code) = self.tell(arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        self.check();
        text
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let (text, code) = self.tell(arguments);
        assert_eq!(code, 2, "{arguments:?}: {text}");
        self.check();
        text
    }

    /// `served.json` says what the journal says; where a run goes on beside, as soon as it has written both.
    fn check(&self) {
        if self.dir().journal().exists() {
            wait_for("the file says what the journal says", &|| is_synced(&read_state(&self.dir()).unwrap()));
        }
    }

    fn apply(&self, seed: &str) -> String {
        self.done(&["apply", "house.yaml", "--set", &format!("jobs.tuned.seed={seed}")])
    }

    fn served(&self) -> Option<String> {
        read_served(&self.dir())?.models.first().map(|model| model.promotion.clone())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments).arg("--json").output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    fn states(&self) -> Vec<(String, String)> {
        let all = self.json(&["get", "promotions"]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        all.as_array().unwrap().iter().map(|one| (text(&one["id"]), text(&one["state"]))).collect()
    }

    fn seq(&self) -> u64 {
        read_state(&self.dir()).unwrap().seq()
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(id, state)| ((*id).to_owned(), (*state).to_owned())).collect()
}

#[test]
fn a_run_promotes_what_passes_and_leaves_what_does_not() {
    let house = House::new();
    let (text, code) = house.tell(&["serve"]);
    assert!(code == 2 && text.contains("no model is promoted yet"), "{text}");
    let first = house.apply("1");
    assert!(first.contains("promoted: tuned-1 is served"), "{first}");
    assert!(first.contains("report.judge.tuned.win_rate = 0.6000 [0.5200, 0.6700], n 200"), "{first}");
    let model = &read_served(&house.dir()).unwrap().models[0];
    assert!(model.folder.join("config.json").is_file() && model.tokenizer.len() == 64, "{model:?}");
    assert_eq!((model.spec.as_str(), model.name.as_str()), ("house", "tuned"));
    let before = house.seq();
    assert!(house.apply("1").contains("nothing to do"));
    assert_eq!(house.seq(), before, "nothing is recorded where nothing is done");

    house.measures((0.48, 0.55, 0.62), 0.9);
    let second = house.apply("2");
    assert!(second.contains("not promoted: the gate refuses tuned-2"), "{second}");
    house.measures((0.52, 0.6, 0.67), 1.2);
    let third = house.apply("3");
    assert!(third.contains("not promoted: the gate refuses tuned-3"), "worse by the other number: {third}");
    assert!(third.contains("previous.report.perplexity.tuned.bpb = 1.0000"), "{third}");
    house.measures((0.52, 0.6, 0.67), 1.01);
    assert!(house.apply("4").contains("promoted: tuned-4 is served"));
    let expected =
        [("tuned-1", "promoted"), ("tuned-2", "refused"), ("tuned-3", "refused"), ("tuned-4", "promoted")];
    assert_eq!(house.states(), pairs(&expected));
    let status = house.done(&["status"]);
    assert!(status.contains("served: tuned-4"), "{status}");
    let report = std::fs::read_to_string(house.dir().run("house-4").join("report.md")).unwrap();
    assert!(report.contains("promoted: tuned-4 is served"), "{report}");
    let then = house.done(&["get", "promotions", "--at", &before.to_string()]);
    assert!(then.contains("tuned-1") && !then.contains("tuned-2"), "{then}");
}

#[test]
fn a_changed_gate_is_asked_again_without_running_anything() {
    let house = House::new();
    house.measures((0.48, 0.55, 0.62), 1.0);
    assert!(house.apply("1").contains("not promoted"));
    let spec = include_str!("spec.yaml").replace("win_rate.low > 0.5", "win_rate.value > 0.5");
    house.write("house.yaml", &spec);
    let text = house.apply("1");
    assert!(text.contains("promoted: tuned-1 is served") && text.contains("nothing to do"), "{text}");
    assert_eq!(house.json(&["get", "runs"]).as_array().unwrap().len(), 1);
}

#[test]
fn numbers_of_other_data_are_not_compared() {
    let house = House::new();
    house.apply("1");
    house.write("text.txt", "Other words to learn from.\n");
    let text = house.apply("1");
    assert!(text.contains("on other data or in another way"), "{text}");
    assert_eq!(house.served().as_deref(), Some("tuned-1"));
    let forced = house.done(&["promote", "--force", "--reason", "new data"]);
    assert!(forced.contains("promoted: tuned-2"), "{forced}");
}

#[test]
fn rolling_back_is_one_command_and_no_run_undoes_it() {
    let house = House::new();
    house.apply("1");
    let alone = house.refused(&["rollback"]);
    assert!(alone.contains("there is no model before tuned-1"), "{alone}");
    house.apply("2");
    let back = house.done(&["rollback", "--reason", "it swears"]);
    assert!(back.contains("rolled back: tuned-2; tuned-1 is served"), "{back}");
    assert!(house.apply("2").contains("nothing to do"));
    std::fs::remove_file(house.dir().run("house-2").join("report.html")).unwrap();
    let again = house.apply("2");
    assert!(again.contains("tuned-2 was rolled back by") && again.contains("it swears"), "{again}");
    assert_eq!(house.served().as_deref(), Some("tuned-1"));
    let by_hand = house.done(&["promote", "tuned"]);
    assert!(by_hand.contains("promoted: tuned-3"), "{by_hand}");
    let unknown = house.refused(&["rollback", "--to", "tuned-9"]);
    assert!(unknown.contains("there is no promotion `tuned-9`"), "{unknown}");
    house.done(&["rollback", "--to", "tuned-1"]);
    assert_eq!(house.served().as_deref(), Some("tuned-1"));
}

#[test]
fn where_approval_is_required_a_person_decides() {
    let house = House::new();
    house.write("house.yaml", &format!("{}  approval: required\n", include_str!("spec.yaml")));
    let text = house.apply("1");
    assert!(text.contains("awaits approval: tuned-1"), "{text}");
    assert_eq!(house.served(), None);
    let (serve, code) = house.tell(&["serve"]);
    assert!(code == 2 && serve.contains("cupola approve tuned-1"), "{serve}");
    let waits = house.refused(&["promote"]);
    assert!(waits.contains("tuned-1 is awaiting approval"), "{waits}");
    assert!(house.done(&["approve"]).contains("promoted: tuned-1"));
    house.apply("2");
    house.done(&["reject", "tuned-2", "--reason", "too long"]);
    assert!(house.refused(&["approve", "tuned-2"]).contains("tuned-2 is rejected"));
    assert_eq!(house.states(), pairs(&[("tuned-1", "promoted"), ("tuned-2", "rejected")]));
}

#[test]
fn a_refusing_gate_holds_for_hands_too_unless_forced_with_a_reason() {
    let house = House::new();
    house.measures((0.4, 0.5, 0.6), 1.0);
    house.apply("1");
    let refused = house.refused(&["promote"]);
    assert!(refused.contains("the gate refuses tuned") && refused.contains("[0.4000, 0.6000]"), "{refused}");
    assert!(house.refused(&["promote", "--force"]).contains("--force needs --reason"));
    assert!(house.refused(&["promote", "base"]).contains("the gate speaks of `tuned`, not of `base`"));
    let reason = format!("the judge was down, token={SECRET}");
    house.done(&["promote", "--force", "--reason", &reason]);
    let log = house.json(&["get", "audit"]);
    let last = log.as_array().unwrap().last().unwrap();
    assert_eq!((&last["verb"], &last["result"]), (&json!("promote"), &json!("tuned-1 promoted")));
    assert!(!log.to_string().contains(SECRET) && log.to_string().contains("the judge was down"), "{log}");
}

#[test]
fn what_is_served_and_what_it_goes_back_to_is_never_deleted() {
    let house = House::new();
    for seed in ["1", "2", "3"] {
        house.apply(seed);
    }
    house.done(&["gc", "--yes", "--keep-runs", "0"]);
    let state = read_state(&house.dir()).unwrap();
    let kept = |kind: &str| state.artifacts().values().filter(|artifact| artifact.kind == kind).count();
    assert_eq!(kept("report"), 2, "the served one's and that of the one before");
    assert_eq!(kept("model"), 3, "two, and what they were made from");
    let gone = house.refused(&["rollback", "--to", "tuned-1"]);
    assert!(gone.contains("the model of tuned-1 is gone"), "{gone}");
    assert!(house.done(&["rollback"]).contains("tuned-2 is served"));
    assert!(house.done(&["doctor"]).contains("served: agrees with the journal (tuned-2)"));
}

#[test]
fn the_pointer_is_made_again_from_the_journal() {
    let house = House::new();
    house.apply("1");
    for damage in [None, Some("rubbish"), Some("{\"version\":1,\"models\":[]}")] {
        match damage {
            None => std::fs::remove_file(house.dir().served()).unwrap(),
            Some(text) => std::fs::write(house.dir().served(), text).unwrap(),
        }
        let text = house.done(&["doctor"]);
        assert!(text.contains("served: differed; made again (tuned-1)"), "{text}");
        assert_eq!(house.served().as_deref(), Some("tuned-1"));
    }
}

/// A process that is killed where the test ends before it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(what: &str, is_there: &dyn Fn() -> bool) {
    let since = Instant::now();
    while !is_there() {
        assert!(since.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn rolling_back_does_not_wait_for_a_run() {
    let house = House::new();
    house.apply("1");
    house.apply("2");
    house.write("slow", "tuned");
    let arguments = ["apply", "house.yaml", "--set", "jobs.tuned.seed=3"];
    let child = house.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut run = Running(child);
    let is_running = || {
        let state = read_state(&house.dir()).unwrap();
        state.run("house-3").and_then(|run| run.step("tuned")).is_some_and(|step| step.state.is_live())
    };
    wait_for("the run starts", &is_running);
    let (back, code) = house.tell(&["rollback"]);
    assert_eq!(house.served().as_deref(), Some("tuned-1"), "the file is written when the command ends");
    assert!(code == 0 && back.contains("tuned-1 is served") && is_running(), "{back}");
    house.done(&["pause"]);
    std::fs::remove_file(house.path("slow")).unwrap();
    house.done(&["resume"]);
    assert!(run.0.wait().unwrap().success());
    assert_eq!(house.served().as_deref(), Some("tuned-3"), "a new model goes on top");
    let log = house.json(&["get", "audit"]);
    let of = |verb: &str| log.as_array().unwrap().iter().find(|act| act["verb"] == verb).cloned().unwrap();
    assert_eq!(of("rollback")["result"], "tuned-2 rolled back");
    assert_eq!(of("pause")["run"], "house-3");
    assert_eq!(of("resume")["run"], "house-3");
    let recorded_by_the_holder = house.json(&["get", "events"]);
    assert!(recorded_by_the_holder.to_string().contains("\"acted\""));
}

#[test]
fn every_act_is_in_the_log_with_who_did_it() {
    let house = House::new();
    let spec = include_str!("spec.yaml");
    let nightly = "schedules:\n  nightly: { cron: \"0 2 * * *\", jobs: [report] }\n";
    house.write("house.yaml", &format!("{spec}  approval: required\n{nightly}"));
    let secret = format!("jobs.tuned.description=token={SECRET}");
    house.done(&["apply", "house.yaml", "--set", &secret]);
    house.done(&["approve", "--reason", "looks good"]);
    house.apply("2");
    house.done(&["reject", "--reason", "too long"]);
    house.done(&["promote", "--force", "--reason", "all the same"]);
    house.done(&["rollback"]);
    house.done(&["schedule", "pause", "nightly"]);
    house.done(&["schedule", "resume", "nightly"]);
    house.done(&["schedule", "fire", "nightly"]);
    house.done(&["export", "tuned", "--out", "copy"]);
    house.done(&["import", "copy"]);
    house.write("worker.sh", "#!/bin/sh\nexit 1\n");
    let (_, failed) =
        house.tell(&["apply", "house.yaml", "--set", "jobs.tuned.seed=5", "--set", "defaults.retries=0"]);
    assert_eq!(failed, 1);
    house.write("worker.sh", include_str!("worker.sh"));
    house.done(&["retry"]);
    house.done(&["gc", "--yes"]);
    house.done(&["doctor", "--rebuild"]);
    house.done(&["gc"]);
    let log = house.json(&["get", "audit"]);
    let acts: Vec<(&str, &str, &str)> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|act| {
            let text = |field: &str| act[field].as_str().unwrap_or("");
            (text("verb"), text("run"), text("result"))
        })
        .collect();
    let expected = [
        ("apply", "house-1", "succeeded"),
        ("approve", "", "tuned-1 promoted"),
        ("apply", "house-2", "succeeded"),
        ("reject", "", "tuned-2 rejected"),
        ("promote", "", "tuned-3 promoted"),
        ("rollback", "", "tuned-3 rolled back"),
        ("schedule pause", "", ""),
        ("schedule resume", "", ""),
        ("schedule fire", "house-3", "succeeded"),
        ("import", "", ""),
        ("apply", "house-4", "failed"),
        ("retry", "house-5", "succeeded"),
    ];
    assert_eq!(&acts[..expected.len()], expected, "{log:#}");
    assert_eq!(acts[expected.len()].0, "gc");
    assert_eq!(acts[expected.len() + 1], ("doctor", "", "made again"), "and listing what would go is no act");
    assert_eq!(acts.len(), expected.len() + 2);
    assert!(!log.to_string().contains(SECRET));
    let actor = &log[0]["actor"];
    let is_told = |field: &str| actor[field].as_str().is_some_and(|text| !text.is_empty());
    assert!(
        is_told("user") && is_told("host") && is_told("parent") && actor["pid"].as_u64() > Some(0),
        "{actor}"
    );
}

#[test]
fn the_log_is_told_of_one_person_and_since_a_moment() {
    let house = House::new();
    house.apply("1");
    house.done(&["gc", "--yes"]);
    let listed = |arguments: &[&str]| {
        let all = house.json(&[&["get", "audit"], arguments].concat());
        all.as_array().unwrap().clone()
    };
    let user = listed(&[])[0]["actor"]["user"].as_str().unwrap().to_owned();
    assert_eq!(
        (listed(&[]).len(), listed(&["--who", &user]).len(), listed(&["--since", "1h"]).len()),
        (2, 2, 2)
    );
    assert!(listed(&["--who", "nobody-of-this-name"]).is_empty());
    assert!(listed(&["--since", "2100-01-01T00:00:00Z"]).is_empty());
    assert!(house.refused(&["get", "audit", "--since", "soon"]).contains("`soon` is neither"));
    let by_schedule =
        ["--via", "schedule house.nightly", "apply", "house.yaml", "--set", "jobs.tuned.seed=2"];
    house.done(&by_schedule);
    assert_eq!(listed(&["--who", "nightly"]).len(), 1);
}

#[test]
fn a_cancelled_run_is_in_the_log_and_promotes_nothing() {
    let house = House::new();
    house.write("slow", "tuned");
    let arguments = ["apply", "house.yaml"];
    let child = house.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut run = Running(child);
    let is_running = || {
        let state = read_state(&house.dir()).unwrap();
        state.run("house-1").and_then(|run| run.step("tuned")).is_some_and(|step| step.state.is_live())
    };
    wait_for("the run starts", &is_running);
    house.done(&["cancel"]);
    let _ = run.0.wait();
    let log = house.json(&["get", "audit"]);
    let acts: Vec<(&Value, &Value)> =
        log.as_array().unwrap().iter().map(|act| (&act["verb"], &act["run"])).collect();
    assert_eq!(acts, [(&json!("apply"), &json!("house-1")), (&json!("cancel"), &json!("house-1"))]);
    assert_eq!(log[0]["result"], "cancelled");
    assert_eq!((house.served(), house.states()), (None, Vec::new()));
    assert!(!Path::new(&house.dir().served()).exists());
}
