//! One spec, every job kind, from source text to a report card; then the second time.

use std::fs;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use cupola_tests::House;
use serde_json::Value;

/// The house in which the small spec was applied once; tests that change its spec put it back.
pub(crate) fn applied() -> MutexGuard<'static, House> {
    static HOUSE: OnceLock<Mutex<House>> = OnceLock::new();
    let house = HOUSE.get_or_init(|| {
        let house = House::new().unwrap();
        let printed = house.ok(["apply", "spec.yaml"]).unwrap();
        assert!(printed.contains("report.html"), "apply names the report card:\n{printed}");
        Mutex::new(house)
    });
    // A test that failed while it held the house has told so itself.
    house.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn read(path: impl AsRef<std::path::Path>) -> Value {
    let path = path.as_ref();
    serde_json::from_slice(&fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .unwrap()
}

/// Steps that `plan` would run, by name.
fn would_run(house: &House) -> Vec<String> {
    let plan = house.json(["plan", "spec.yaml"]).unwrap();
    let steps = plan["steps"].as_array().expect("`plan --json` has steps");
    let runs = steps.iter().filter(|step| step["action"] != "cached");
    runs.map(|step| step["step"].as_str().unwrap().to_owned()).collect()
}

/// What each step's artifact holds, beside its manifest.
const LAYOUTS: &[(&str, &[&str])] = &[
    ("corpus", &["statistics.json", "statistics.html", "dropped.jsonl.zst", "pairs/train.jsonl.zst"]),
    (
        "vocab",
        &[
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "tokenizer.tiktoken",
            "tiktoken.json",
            "report.json",
            "report.html",
        ],
    ),
    ("law/fit", &["law.json", "runs.csv"]),
    (
        "base",
        &[
            "config.json",
            "model.safetensors",
            "generation_config.json",
            "tokenizer.json",
            "training.json",
            "seal.json",
        ],
    ),
    (
        "assistant",
        &["config.json", "model.safetensors", "tokenizer_config.json", "training.json", "seal.json"],
    ),
    ("aligned/preferences", &["pairs.jsonl.zst", "validation.jsonl.zst", "statistics.json"]),
    ("aligned/reward_model", &["model.safetensors", "training.json"]),
    ("aligned/optimize", &["model.safetensors", "training.json", "seal.json"]),
    ("report", &["report.json", "report.html", "report.md", "README.md"]),
];

#[test]
fn every_job_kind_leaves_what_its_layout_promises() {
    let house = applied();
    for (step, files) in LAYOUTS {
        let folder = house.artifact(step).unwrap();
        for file in files.iter().chain(&["manifest.json"]) {
            let length = fs::metadata(folder.join(file))
                .unwrap_or_else(|error| panic!("{step}: {file}: {error}"))
                .len();
            assert!(length > 0, "{step}: {file} is empty");
        }
    }
    let statistics = read(house.artifact("corpus").unwrap().join("statistics.json"));
    let held_out: Vec<&str> = statistics["validation_units"]
        .as_array()
        .unwrap()
        .iter()
        .map(|unit| unit.as_str().unwrap())
        .collect();
    assert!(!held_out.is_empty() && held_out.len() < 5, "some crates are held out: {held_out:?}");

    let base = read(house.artifact("base").unwrap().join("training.json"));
    let score = &base["forecast"];
    assert!(
        score["forecast"]["loss"]["value"].as_f64().unwrap() > 0.0 && score["actual"].as_f64().unwrap() > 0.0
    );

    let served = read(house.state().join("served.json"));
    assert_eq!(served["models"][0]["name"], "aligned", "the gate found its numbers in the report: {served}");

    let report = read(house.artifact("report").unwrap().join("report.json"));
    let rows = report["rows"].as_array().unwrap();
    for suite in ["perplexity", "chat_loss", "multiple_choice", "judge", "contamination"] {
        let row =
            rows.iter().find(|row| row["suite"] == suite).unwrap_or_else(|| panic!("no row of {suite}"));
        assert!(row["n"].as_u64().unwrap() > 0 && row["low"].as_f64() <= row["high"].as_f64(), "{row}");
    }
}

#[test]
fn the_second_apply_runs_nothing_and_returns_at_once() {
    let house = applied();
    assert_eq!(would_run(&house), Vec::<String>::new());
    let fastest = (0..3)
        .map(|_| {
            let begin = Instant::now();
            house.ok(["apply", "spec.yaml"]).unwrap();
            begin.elapsed()
        })
        .min()
        .unwrap();
    assert!(fastest < Duration::from_secs(1), "a second apply took {fastest:?}");
}

#[test]
fn a_changed_field_runs_its_step_and_what_follows_and_is_named() {
    let house = applied();
    let before = fs::read_to_string(house.spec()).unwrap();

    house.edit_spec("tokens: 80K", "tokens: 90K   # a comment").unwrap();
    let mut runs = would_run(&house);
    runs.sort();
    assert_eq!(
        runs,
        ["aligned/optimize", "aligned/preferences", "aligned/reward_model", "assistant", "base", "report"],
        "only base and what follows it"
    );
    let why = house.ok(["why", "base", "--spec", "spec.yaml"]).unwrap();
    assert!(
        why.contains("tokens") && why.contains("80") && why.contains("90"),
        "why names the field:\n{why}"
    );
    let plan = house.ok(["plan", "spec.yaml"]).unwrap();
    assert!(plan.contains("tokens"), "plan names the field:\n{plan}");

    fs::write(house.spec(), before.replace("name: small", "name: small\ndescription: another # word"))
        .unwrap();
    assert_eq!(would_run(&house), Vec::<String>::new(), "a description never causes a run");
    fs::write(house.spec(), before).unwrap();
}

#[test]
fn a_schedule_can_be_fired_by_hand_and_is_recorded_once() {
    let house = applied();
    let runs = |house: &House| house.json(["get", "runs"]).unwrap().as_array().unwrap().len();
    let before = runs(&house);
    house.ok(["schedule", "fire", "nightly", "--spec", "spec.yaml"]).unwrap();
    assert_eq!(runs(&house), before + 1, "a firing is one run");
    let schedules = house.json(["schedule", "list", "spec.yaml"]).unwrap();
    assert!(schedules.to_string().contains("nightly"), "{schedules}");
}

#[test]
fn wrong_input_ends_with_exit_code_2_and_a_place() {
    let house = House::new().unwrap();
    house.edit_spec("vocab_size: 640", "vocab_sise: 640").unwrap();
    let output = house.run(["apply", "spec.yaml"]).unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("spec.yaml:") && message.contains("vocab_size"), "{message}");
}
