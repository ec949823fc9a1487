use std::collections::BTreeMap;
use std::path::Path;

use cupola_specs::job::StepKind;

use super::*;
use crate::state::{
    AttemptOutcome, Expected, Fact, Finding, PlannedStep, RunView, State, StateDir, load_run, read_state,
};

/// Secrets as they come: by the name of their variable, and by their shape alone.
const BY_NAME: [(&str, &str); 4] = [
    ("JUDGE_KEY", "plain words of a key"),
    ("HUB_TOKEN", "t0ken/with\"quote"),
    ("DB_PASSWORD", "tr0ub4dor"),
    ("ODD_NAME", "named by the spec"),
];
const BY_SHAPE: [&str; 9] = [
    "sk-ant-api03-abcdefghijklmnop",
    "Authorization: Bearer hdrhdrhdr123",
    "https://jane:pa55word@example.org/x",
    "https://hooks.slack.com/services/T0/B0/hookhook",
    "https://example.org/?api_key=queryquery",
    "-----BEGIN PRIVATE KEY-----\nMIIBVQIBADANBgkqpem\n-----END PRIVATE KEY-----",
    "AKIAIOSFODNN7EXAMPLE",
    "password: hunter2hunter2",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.sigsigsig",
];
/// What of them must be nowhere in the archive.
const NEEDLES: [&str; 16] = [
    "plain words of",
    "t0ken",
    "tr0ub4dor",
    "named by",
    "abcdefghijklmnop",
    "hdrhdrhdr",
    "pa55word",
    "hookhook",
    "queryquery",
    "MIIBVQ",
    "IOSFODNN7",
    "hunter2",
    "sigsigsig",
    "private sample",
    "/home/tester",
    "weights!",
];

fn environment() -> Vec<(String, String)> {
    BY_NAME.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn planted() -> String {
    let by_name = BY_NAME.iter().map(|(_, value)| *value);
    by_name.chain(BY_SHAPE).chain(["in /home/tester/x"]).collect::<Vec<_>>().join("\n")
}

/// A run whose only step failed, with secrets in every place that a bundle reads.
fn failed_run(dir: &StateDir) -> RunView {
    let (run, step) = ("t-1".to_owned(), "s".to_owned());
    let mut state = State::open(dir, "test").unwrap();
    let planned = PlannedStep {
        name: step.clone(),
        job: step.clone(),
        kind: StepKind::Fit,
        fingerprint: "f".repeat(64),
        code_version: 1,
        params: serde_json::json!({ "note": planted() }),
        inputs: BTreeMap::new(),
        needs: Vec::new(),
        sources: BTreeMap::new(),
        seed: 1,
        cores: 1,
        cached: false,
        reason: planted(),
        training_flops: 0.0,
        trainings: serde_json::Value::Null,
        expected: Expected::default(),
    };
    let created = Fact::RunCreated {
        run: run.clone(),
        spec_name: "t".into(),
        spec_path: "/home/tester/t.yaml".into(),
        plan_hash: "p".into(),
    };
    let below = Path::new("runs/t-1/s-ffffffff/attempt-1");
    let intended = Fact::AttemptIntended {
        run: run.clone(),
        step: step.clone(),
        number: 1,
        token: "1.1".into(),
        dir: below.into(),
    };
    let ended = Fact::AttemptEnded {
        run: run.clone(),
        step,
        token: "1.1".into(),
        outcome: AttemptOutcome::Lost { reason: planted() },
        peak_rss_bytes: 0,
        cpu_millis: 0,
    };
    let note = Fact::Noted { topic: "t".into(), key: "k".into(), value: planted().into() };
    state
        .record(vec![created, Fact::StepsPlanned { run, steps: vec![planned] }, intended, ended, note])
        .unwrap();
    let attempt = dir.root().join(below);
    std::fs::create_dir_all(&attempt).unwrap();
    let log = serde_json::json!({ "at_millis": 1, "event": "log", "message": planted() });
    let sample = serde_json::json!({ "at_millis": 1, "event": "sample", "step": 1, "prompt": "private sample", "text": "private sample" });
    std::fs::write(attempt.join("events.jsonl"), format!("{log}\n{sample}\n")).unwrap();
    std::fs::write(attempt.join("stderr.log"), planted().repeat(4_000)).unwrap();
    std::fs::write(attempt.join("job.json"), serde_json::json!({ "prompt": planted() }).to_string()).unwrap();
    std::fs::write(attempt.join("weights.safetensors"), "weights!").unwrap();
    std::fs::write(dir.run("t-1").join("spec.json"), serde_json::json!({ "x": planted() }).to_string())
        .unwrap();
    let report = format!("# Report\n\n{}\n\n## Samples\n\nprivate sample\n", planted());
    std::fs::write(dir.run("t-1").join("report.md"), report).unwrap();
    drop(state);
    load_run(&read_state(dir).unwrap(), None).unwrap().unwrap()
}

fn files_of(archive: &Path) -> BTreeMap<String, String> {
    let decoder = zstd::Decoder::new(std::fs::File::open(archive).unwrap()).unwrap();
    let mut archive = tar::Archive::new(decoder);
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
        (entry.path().unwrap().display().to_string(), text)
    };
    archive.entries().unwrap().map(read).collect()
}

#[test]
fn no_planted_secret_is_in_the_archive_and_what_helps_is() {
    let folder = tempfile::tempdir().unwrap();
    let dir = StateDir::new(&folder.path().join("state"));
    let run = failed_run(&dir);
    let redactor =
        Redactor::new(&environment(), &["ODD_NAME".to_owned()], Some(Path::new("/home/tester"))).unwrap();
    let mut bundle = Bundle::new(redactor, 1_000);
    add_machine(&mut bundle, &dir, &environment()).unwrap();
    add_journal(&mut bundle, &dir, 1 << 20).unwrap();
    add_run(&mut bundle, &dir, &run).unwrap();
    add_findings(&mut bundle, &[Finding::bad(planted())]).unwrap();
    let out = folder.path().join("b.tar.zst");
    let contents = bundle.write(&out).unwrap();
    let files = files_of(&out);
    for (name, text) in &files {
        for needle in NEEDLES {
            assert!(!text.contains(needle) && !name.contains(needle), "{needle} is in {name}:\n{text}");
        }
    }
    let attempt = "b/runs/t-1/s-ffffffff/attempt-1";
    let names = [
        "b/contents.json",
        "b/machine.json",
        "b/journal.json",
        "b/journal.jsonl",
        "b/spec.json",
        "b/run.json",
    ];
    for name in names
        .map(str::to_owned)
        .into_iter()
        .chain(["events.jsonl", "stderr.log", "job.json"].map(|file| format!("{attempt}/{file}")))
    {
        assert!(files.contains_key(&name), "{name} is missing from {:?}", files.keys());
    }
    assert!(files["b/machine.json"].contains("JUDGE_KEY"), "names of variables stay");
    assert!(
        files["b/journal.jsonl"].contains(r#""token":"1.1""#)
            && files["b/journal.jsonl"].contains(&run.steps[0].fingerprint)
    );
    assert!(files[&format!("{attempt}/stderr.log")].len() <= 256 << 10);
    assert_eq!(files.len(), contents.included.len() + 1);
    let left: Vec<&str> = contents.left_out.iter().map(|left| left.what.as_str()).collect();
    assert!(
        left.contains(&"runs/t-1/s-ffffffff/attempt-1/stderr.log")
            && left.contains(&"values of environment variables"),
        "{left:?}"
    );
}

#[test]
fn a_file_that_is_there_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("b.tar.zst");
    std::fs::write(&out, "mine").unwrap();
    let bundle = Bundle::new(Redactor::new(&[], &[], None).unwrap(), 0);
    assert!(matches!(bundle.write(&out), Err(BundleError::Exists(_))));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "mine");
}

#[test]
fn of_a_long_file_only_whole_last_lines_come_along() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stderr.log");
    let lines: Vec<String> = (0..60_000).map(|at| format!("line {at} of a log that is long\n")).collect();
    let lines = lines.concat();
    std::fs::write(&path, &lines).unwrap();
    let mut bundle = Bundle::new(Redactor::new(&[], &[], None).unwrap(), 0);
    bundle.add_end_of("stderr.log", &path, 1_000).unwrap();
    std::fs::write(&path, "x".repeat(200_000)).unwrap();
    bundle.add_end_of("one-line.log", &path, 1_000).unwrap();
    let out = folder.path().join("b.tar.zst");
    let contents = bundle.write(&out).unwrap();
    let files = files_of(&out);
    let kept = &files["b/stderr.log"];
    assert!(kept.len() <= 1_000 && kept.starts_with("line ") && lines.ends_with(kept.as_str()), "{kept}");
    assert_eq!(files["b/one-line.log"], "", "half a line may be half a secret");
    assert_eq!(contents.left_out.len(), 2);
}
