//! Gates: what an expression sees, and that nothing but a whole and true one lets a model pass.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::Path;

use cupola_specs::artifact::ReportRow;
use cupola_specs::gate::{Gate, GateFacts, GateOutcome};
use cupola_specs::spec::{Environment, ResolvedSpec, gate_names, parse};
use proptest::prelude::*;

struct Nowhere;

impl Environment for Nowhere {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn home(&self) -> Option<std::path::PathBuf> {
        None
    }

    fn read(&self, _path: &Path) -> std::io::Result<Vec<u8>> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

const SPEC: &str = r#"cupola: v1
name: gates
jobs:
  corpus:
    kind: data
    sources: [{ name: docs, format: text, paths: ["./*.txt"] }]
    pairs: { from: doc_comments }
  vocab: { kind: tokenizer, corpus: corpus, vocab_size: 4096 }
  base: { kind: pretrain, corpus: corpus, tokenizer: vocab, model: { depth: 4 }, tokens: 1M }
  tuned: { kind: sft, model: base, data: [corpus.pairs] }
  nightly-eval:
    kind: eval
    models: [base, tuned]
    suites:
      - { perplexity: { on: corpus.validation } }
      - { multiple_choice: { on: corpus.validation_pairs, scoring: [likelihood] } }
      - { judge: { model: tuned, baseline: base, prompts: corpus.validation_pairs, judge: reference } }
      - { contamination: { on: corpus.validation_pairs } }
"#;

fn spec(gate: &str) -> Result<ResolvedSpec, String> {
    let text = format!("{SPEC}serve: {{ model: tuned, promote_if: '{gate}' }}\n");
    parse(Path::new("gates.yaml"), text.as_bytes(), &[], &Nowhere).map_err(|errors| errors.to_text())
}

fn row(suite: &str, model: &str, metric: &str, (low, value, high): (f64, f64, f64)) -> ReportRow {
    ReportRow {
        suite: suite.into(),
        model: model.into(),
        metric: metric.into(),
        value,
        stderr: (high - low) / 4.0,
        low,
        high,
        n: 200,
        method: String::new(),
        chance: None,
        higher_is_better: suite != "perplexity" && suite != "contamination",
    }
}

fn report(win_rate: (f64, f64, f64), bpb: (f64, f64, f64)) -> BTreeMap<String, Vec<ReportRow>> {
    let rows = vec![
        row("judge", "tuned", "win_rate", win_rate),
        row("perplexity", "tuned", "bpb", bpb),
        row("contamination", "", "overlap", (0.0, 0.01, 0.02)),
    ];
    BTreeMap::from([("nightly-eval".to_owned(), rows)])
}

fn evaluate(gate: &str, facts: &GateFacts) -> GateOutcome {
    let spec = spec(gate).unwrap_or_else(|errors| panic!("{errors}"));
    let gate = Gate::parse(spec.serve.unwrap().promote_if.as_deref().unwrap()).unwrap();
    gate.evaluate(facts)
}

fn facts() -> GateFacts {
    GateFacts {
        reports: report((0.52, 0.6, 0.67), (1.00, 1.02, 1.04)),
        previous: report((0.45, 0.5, 0.55), (1.08, 1.10, 1.12)),
        absent: BTreeMap::new(),
    }
}

#[test]
fn values_and_intervals_are_seen_and_told() {
    let outcome = evaluate(
        "nightly_eval.judge.tuned.win_rate.low > 0.5 && nightly_eval.judge.tuned.win_rate.n >= 100 && nightly_eval.contamination.data.overlap.high < 0.05",
        &facts(),
    );
    assert!(outcome.passed, "{outcome:?}");
    let names: Vec<(&str, f64, f64, f64, u64)> =
        outcome.seen.iter().map(|s| (s.name.as_str(), s.low, s.value, s.high, s.n)).collect();
    assert_eq!(
        names,
        [
            ("nightly_eval.judge.tuned.win_rate", 0.52, 0.6, 0.67, 200),
            ("nightly_eval.contamination.data.overlap", 0.0, 0.01, 0.02, 200)
        ]
    );
    let refused = evaluate("nightly_eval.judge.tuned.win_rate.low > 0.55", &facts());
    assert!(!refused.passed && refused.problem.is_empty(), "{refused:?}");
}

#[test]
fn the_two_functions_go_by_the_interval_of_the_difference() {
    let both = |function: &str, rest: &str| {
        let number = "nightly_eval.perplexity.tuned.bpb";
        evaluate(&format!("{function}({number}, previous.{number}{rest})"), &facts())
    };
    assert!(both("better", "").passed);
    assert!(both("not_worse", ", 0").passed);
    let mut worse = facts();
    std::mem::swap(&mut worse.reports, &mut worse.previous);
    let number = "nightly_eval.perplexity.tuned.bpb";
    let margin =
        |margin: f64| evaluate(&format!("not_worse({number}, previous.{number}, {margin:?})"), &worse).passed;
    assert!(!margin(0.05) && !margin(0.1) && margin(0.15), "0.08 worse, and up to 0.108 by the interval");
    assert_eq!(both("better", "").seen.len(), 2);
}

#[test]
fn without_a_served_model_what_needs_it_is_an_error_and_never_passes() {
    let first = GateFacts {
        previous: BTreeMap::new(),
        absent: BTreeMap::from([(String::new(), "no model is served yet".to_owned())]),
        ..facts()
    };
    let number = "nightly_eval.judge.tuned.win_rate";
    let outcome = evaluate(&format!("better({number}, previous.{number})"), &first);
    assert!(!outcome.passed);
    assert_eq!(outcome.problem, format!("there is no `previous.{number}`: no model is served yet"));
    let guarded = format!("!has(previous.nightly_eval) || better({number}, previous.{number})");
    assert!(evaluate(&guarded, &first).passed, "asked for");
    assert!(
        evaluate(&guarded, &facts()).passed
            && !evaluate(&guarded, &GateFacts { previous: facts().reports, ..facts() }).passed
    );
}

#[test]
fn a_number_that_is_missing_or_there_twice_never_passes() {
    let gate = "nightly_eval.judge.tuned.win_rate.low > 0.0";
    let mut lacking = facts();
    lacking.reports.get_mut("nightly-eval").unwrap().remove(0);
    let outcome = evaluate(gate, &lacking);
    assert!(!outcome.passed);
    assert_eq!(outcome.problem, "the report has no `nightly_eval.judge.tuned.win_rate.low`");
    let mut doubled = facts();
    let rows = doubled.reports.get_mut("nightly-eval").unwrap();
    rows.push(rows[0].clone());
    assert!(!evaluate(gate, &doubled).passed);
    assert!(!evaluate(gate, &GateFacts::default()).passed);
}

#[test]
fn the_gate_names_the_jobs_that_it_needs() {
    let spec = spec("nightly_eval.judge.tuned.win_rate.low > 0.5").unwrap();
    let names = gate_names(&spec.served_evals());
    let jobs = |text: &str| Gate::parse(text).unwrap().jobs(&names);
    assert_eq!(jobs("previous.nightly_eval.judge.tuned.win_rate.low > 0.5"), ["nightly-eval"]);
    assert!(jobs("true").is_empty());
}

#[test]
fn a_gate_that_can_never_work_is_refused_with_the_spec() {
    for wrong in [
        "nightly_eval.judge.tuned.win_rate > 0.5",
        "nightly_eval.judge.tuned.win_rate.low + 1 > 0.5",
        "nightly_eval.judge.tuned.win_rate.low",
        "better(nightly_eval.judge.tuned.win_rate)",
        "nightly_eval",
        "1 +",
        "",
    ] {
        assert!(spec(wrong).is_err(), "{wrong}");
    }
    for right in [
        "true",
        "nightly_eval.judge.exists(m, m == \"tuned\")",
        "nightly_eval[\"judge\"].tuned.win_rate.low > 0.5",
    ] {
        assert!(spec(right).is_ok(), "{right}: {:?}", spec(right));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_a_gate_panic(words in prop::collection::vec(prop::sample::select(vec![
        "nightly_eval", "previous", ".", "judge", "tuned", "win_rate", "low", ">", "<", "0.5", "1", "&&", "||", "!", "(", ")", "[", "]",
        "{", "}", "\"a\"", "\"", "has", "better", "not_worse", ",", "+", "-", "*", "/", "%", "?", ":", "==", "in", "true", "null", "\\",
        "é", "size", ".exists(x,", ".map(x,", "x", "0x", "1e", "`", "@", " ", "//", "1u", "9999999999999999999",
    ]), 0..30)) {
        let text = words.concat();
        if let Ok(gate) = Gate::parse(&text) {
            let names = gate_names(&spec("true").unwrap().served_evals());
            let problems = gate.check(&names);
            let outcome = gate.evaluate(&facts());
            prop_assert!(outcome.problem.is_empty() || !outcome.passed);
            let _ = problems;
        }
    }

    #[test]
    fn deep_and_long_texts_are_refused_or_carried_out(open in prop::sample::select(vec!["(", "[", "{1:", "!", "-", "f(", "a.", "1+", "true&&", "a?b:"]), times in 1..1500_usize) {
        let text = format!("{}true", open.repeat(times));
        if let Ok(gate) = Gate::parse(&text) {
            gate.evaluate(&facts());
        }
    }
}
