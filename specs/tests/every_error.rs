//! Every error of a file in one pass: any choice of independent mistakes is told in full, each on its line, and nothing else is.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use cupola_specs::spec::{self, Environment};
use proptest::prelude::*;

/// A world with nothing in it.
struct Nowhere;

impl Environment for Nowhere {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn home(&self) -> Option<PathBuf> {
        Some(PathBuf::from("/home/user"))
    }

    fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

const QUICKSTART: &str = include_str!("../quickstart.yaml");

/// Mistakes: the right text, which stands once in the quickstart, and the wrong one. The last line of the text is the wrong one.
const MISTAKES: &[(&str, &str)] = &[
    ("cupola: v1", "cupola: v2"),
    ("timeout: 1h", "timeout: 1"),
    ("hours: 0.2", "hours: 2h"),
    ("format: rust,", "format: rustt,"),
    ("max_bytes: 8MB", "max_bytes: 8"),
    ("min_confidence: 0.5", "min_confidence: 1.5"),
    ("- gopher_repetition", "- gopher_repetitions"),
    ("ip: redact", "ip: mask"),
    ("exact: document,", "exact: documents,"),
    ("validation: 30%", "validation: 30"),
    ("max_code_chars", "max_code_char"),
    ("kind: tokenizer\n    corpus: corpus", "kind: tokenizer\n    corpus: @corpus"),
    ("vocab_size: 4096", "vocab_sise: 4096"),
    ("pattern: gpt4", "pattern: \"\\d\""),
    ("special_tokens: chat", "special_tokens: chats"),
    ("families: [transformer, lstm]", "families: [transformer, lstn]"),
    ("tokens: [50K,", "tokens: [50,"),
    ("methods: [parametric,", "methods: [parametrc,"),
    ("kind: pretrain\n    corpus: corpus", "kind: pretrain\n    corpus: corpsu"),
    ("arch: transformer,", "arch: transformers,"),
    ("tokens: 1.5M", "tokens: 1.5MB"),
    ("matrices: muon", "matrices: moun"),
    ("until: 80%", "until: 80"),
    ("every: 30s", "every: 30 sec"),
    ("every: 100 steps, samples: 2 }", "every: 100 steps, samples: 2"),
    ("kind: sft\n    model: base", "kind: sft\n    model: bsae"),
    ("template: chatml", "template: \"chatml"),
    ("train_on: assistant", "train_on: asistant"),
    ("epochs: 1\n", "epochs: one\n"),
    ("method: dpo", "method: dpp"),
    ("pairs: 1500", "pairs: many"),
    ("samples: 4 ", "samples: 4: 4 "),
    ("batch: { global_tokens: 4096 }", "batch: { global_tokens: 4K }"),
    ("labeler: { kind: reference }", "labeler: { knd: reference }"),
    ("{ perplexity:", "{ perplexty:"),
    ("choices: 4,", "choices: 1,"),
    ("lr: constant", "lr: constan"),
    ("depth: \"${vars.depth}\"", "depth: \"${vars.dept}\""),
    ("models: [base, assistant, aligned]", "models: [base, assistant, alined]"),
    ("judge: reference", "judge: refrence"),
    ("serve: { model: aligned,", "serve: { model: alined,"),
    ("jobs: [report]", "jobs: [reports]"),
];

/// Mistakes in what a field means, and the ones in how the same field is written: these are told first.
const MEANINGS: &[(&str, &str, &[&str])] = &[
    ("domains: { weights: { code: 0.7,", "domains: { weights: { code: 0.6,", &[]),
    ("name: readmes", "name: crates", &["format: rust,", "max_bytes: 8MB"]),
    ("until: 100%", "until: 90%", &["until: 80%", "lr: constant"]),
    ("weights: { code: 0.5,", "weights: { code: 0.6,", &["until: 80%", "lr: constant"]),
    ("lr: auto }", "betas: [0.9] }", &["matrices: muon"]),
    ("baseline: assistant", "baseline: aligned", &["{ perplexity:", "choices: 4,"]),
];

/// All mistakes.
const COUNT: usize = MISTAKES.len() + MEANINGS.len();

/// The quickstart with some mistakes, and their lines.
fn with(mistakes: &[usize]) -> (String, BTreeSet<u32>) {
    let chosen: Vec<&str> =
        mistakes.iter().filter_map(|at| MISTAKES.get(*at)).map(|(right, _)| *right).collect();
    let mut text = QUICKSTART.to_owned();
    let mut lines = BTreeSet::new();
    for at in mistakes {
        let (right, wrong) = match MISTAKES.get(*at) {
            Some(mistake) => *mistake,
            None => match MEANINGS[*at - MISTAKES.len()] {
                (right, wrong, before) if before.iter().all(|other| !chosen.contains(other)) => {
                    (right, wrong)
                }
                _ => continue,
            },
        };
        assert_eq!(QUICKSTART.matches(right).count(), 1, "{right}");
        let end = text.find(right).map_or(0, |at| at + right.trim_end().len());
        lines.insert(text[..end].matches('\n').count() as u32 + 1);
        text = text.replacen(right, wrong, 1);
    }
    (text, lines)
}

/// The lines that have errors.
fn told(text: &str) -> (BTreeSet<u32>, String) {
    match spec::parse(Path::new("quickstart.yaml"), text.as_bytes(), &[], &Nowhere) {
        Ok(_) => (BTreeSet::new(), String::new()),
        Err(errors) => (errors.iter().map(|d| d.origin.line).collect(), errors.to_text()),
    }
}

#[test]
fn each_mistake_alone_is_told_on_its_line_with_nothing_else() {
    for at in 0..COUNT {
        let (text, lines) = with(&[at]);
        let (found, errors) = told(&text);
        assert_eq!(found, lines, "{at}\n{errors}");
    }
}

#[test]
fn all_mistakes_together_are_told() {
    let (text, lines) = with(&(0..COUNT).collect::<Vec<_>>());
    let (found, errors) = told(&text);
    assert_eq!(found, lines, "{errors}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_mistakes_are_told_each_on_its_line(mistakes in prop::sample::subsequence((0..COUNT).collect::<Vec<_>>(), 1..12)) {
        let (text, lines) = with(&mistakes);
        let (found, errors) = told(&text);
        prop_assert_eq!(found, lines, "{}", errors);
    }
}
