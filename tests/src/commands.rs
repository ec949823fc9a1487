//! Commands around a run: one job without a file, a run that nobody watches, what may be thrown away.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cupola_tests::House;
use serde_json::Value;

/// Ends a command that must be refused as wrong input, and gives what it said.
fn refused(house: &House, arguments: &[&str]) -> String {
    let output = house.run(arguments).unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    message
}

/// The newest run's state, and the states of its steps by name.
fn states(house: &House) -> (String, Vec<(String, String)>) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let runs = house.json(["get", "runs"]).unwrap();
    let steps = house.json(["get", "steps"]).unwrap();
    let newest = runs.as_array().unwrap().iter().max_by_key(|run| run["created_millis"].as_i64()).unwrap();
    let steps = steps.as_array().unwrap().iter().map(|step| (text(&step["name"]), text(&step["state"])));
    (text(&newest["state"]), steps.collect())
}

/// Waits until the newest run is as it should be.
fn wait_until(house: &House, what: &str, is_so: impl Fn(&str, &[(String, String)]) -> bool) {
    let since = Instant::now();
    loop {
        let (run, steps) = states(house);
        if is_so(&run, &steps) {
            return;
        }
        assert!(since.elapsed() < Duration::from_mins(2), "{what}: the run is {run}, its steps {steps:?}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_job_runs_without_a_spec_and_its_folder_feeds_the_next() {
    let house = House::new().unwrap();
    let sources = "sources=[{name: crates, format: rust, paths: ['crates/**/*.rs']}]";
    house.ok(["run", "data", "--set", sources, "--out", "texts"]).unwrap();
    assert!(house.path().join("texts/manifest.json").is_file());
    let tokenizer = |corpus: &str, out: &'static str| -> [String; 8] {
        ["run", "tokenizer", "--set", corpus, "--set", "vocab_size=512", "--out", out].map(str::to_owned)
    };
    house.ok(tokenizer("corpus={path: texts}", "vocab")).unwrap();
    assert!(house.path().join("vocab/tokenizer.json").is_file());

    for (corpus, problem) in [
        ("corpus={path: vocab}", "it is a tokenizer"),
        ("corpus={path: crates}", "has no manifest.json"),
        ("corpus={path: nowhere}", "there is no such folder"),
    ] {
        let arguments = tokenizer(corpus, "other");
        let message = refused(&house, &arguments.each_ref().map(String::as_str));
        assert!(message.contains(problem), "{message}");
    }
    let message = refused(&house, &["run", "data", "--set", sources, "--out", "texts"]);
    assert!(message.contains("texts is not empty"), "{message}");
    let message = refused(&house, &["retry"]);
    assert!(message.contains("command-line.yaml"), "{message}");
}

#[test]
fn a_run_that_nobody_watches_is_cancelled_and_goes_on_by_retry() {
    let house = House::new().unwrap();
    house.ok(["apply", "spec.yaml", "--only", "law", "--detach"]).unwrap();
    wait_until(&house, "a sweep runs", |_, steps| {
        steps.iter().any(|(name, state)| name.starts_with("law/sweep") && state == "running")
    });
    house.ok(["cancel"]).unwrap();
    wait_until(&house, "cancelled", |run, _| run == "cancelled");
    let (_, steps) = states(&house);
    assert!(steps.iter().any(|(name, state)| name == "law/fit" && state == "cancelled"), "{steps:?}");
    assert!(refused(&house, &["cancel"]).contains("has ended: cancelled"));
    house.ok(["retry"]).unwrap();
    assert_eq!(states(&house).0, "succeeded");
    assert!(house.artifact("law/fit").unwrap().join("law.json").is_file());
}

#[test]
fn what_no_kept_run_needs_is_listed_first_and_deleted_only_on_demand() {
    let house = House::new().unwrap();
    house.ok(["apply", "spec.yaml", "--only", "vocab"]).unwrap();
    let old = house.artifact("vocab").unwrap();
    house.edit_spec("vocab_size: 640", "vocab_size: 600").unwrap();
    house.ok(["apply", "spec.yaml", "--only", "vocab"]).unwrap();
    let new = house.artifact("vocab").unwrap();
    let listed = |flags: &[&str]| -> Vec<String> {
        let items = house.json(["gc"].iter().chain(flags)).unwrap();
        let items = items["items"].as_array().unwrap().iter();
        items.map(|item| item["path"].as_str().unwrap().to_owned()).collect()
    };
    let is_old = |paths: &[String]| paths.iter().map(Path::new).eq([old.as_path()]);
    assert!(listed(&[]).is_empty(), "two runs are kept");
    assert!(is_old(&listed(&["--keep-runs", "1"])) && old.is_dir(), "a list deletes nothing");
    assert!(is_old(&listed(&["--keep-runs", "1", "--yes"])) && !old.exists() && new.is_dir());
    let plan = house.json(["plan", "spec.yaml", "--only", "vocab"]).unwrap();
    let steps = plan["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["action"] == "cached"), "{plan}");
}
