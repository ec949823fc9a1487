//! A training that can't fit the machine is refused before anything runs, by the real program.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::process::{Command, Output, Stdio};

/// Weights of about 20 TB.
const SPEC: &str = "cupola: v1
name: large
jobs:
  corpus: { kind: data, sources: [{ name: docs, format: text, paths: [\"./*.txt\"] }] }
  vocab: { kind: tokenizer, corpus: corpus, vocab_size: 300 }
  base:
    kind: pretrain
    corpus: corpus
    tokenizer: vocab
    model: { num_hidden_layers: 100, hidden_size: 65536, intermediate_size: 262144, num_attention_heads: 512 }
    tokens: 10K
    context: { length: 64 }
";

#[test]
fn a_training_that_cannot_fit_is_refused_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("spec.yaml"), SPEC).unwrap();
    std::fs::write(folder.path().join("text.txt"), "Some words to learn from.\n").unwrap();
    let state = folder.path().join("state");
    let tell = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cupola"));
        command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
        // A worker that fails: whatever ran would be seen.
        command.env("CUPOLA_STATE", &state).env("CUPOLA_WORKER", "/bin/false").env_remove("LIBTORCH");
        let Output { status, stdout, stderr } = command.output().unwrap();
        let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        (stdout, stderr, status.code().unwrap())
    };
    let (plan, _, code) = tell(&["plan", "spec.yaml"]);
    assert!(code == 0 && plan.contains("error[E0701]: `base` takes"), "{code} {plan}");
    let (_, error, code) = tell(&["apply", "spec.yaml"]);
    assert!(code == 2 && error.contains("error[E0701]: `base` takes"), "{code} {error}");
    assert!(error.contains("resources.overcommit"), "{error}");
    let (_, error, code) = tell(&["apply", "spec.yaml", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!((code, &error["code"], &error["class"]), (2, &"E0701".into(), &"user".into()));
    assert!(!state.join("journal").exists(), "nothing was recorded");
    let overcommit = "jobs.base.resources.overcommit=true";
    let (_, error, code) = tell(&["apply", "spec.yaml", "--no-daemon", "--set", overcommit]);
    assert!(code != 2 && error.contains("warning: `base` takes"), "{code} {error}");
    assert!(state.join("journal").exists(), "the run began");
    let (explained, _, code) = tell(&["explain", "E0701"]);
    assert!(code == 0 && explained.contains("more memory than this machine has"), "{explained}");
}
