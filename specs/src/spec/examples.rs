//! For each code what gives it and what mends it. A snippet stands on top of [`GROUND`], in a file of its own that includes it; a
//! snippet with `include` stands alone. A first line `# … --set KEY=VALUE` is a command line. `�` stands for a byte that is not UTF-8.

use super::codes::Code;

/// What gives a code, and the same without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    /// Gives the code, and nothing else.
    pub bad: &'static str,
    /// Is right.
    pub good: &'static str,
}

/// The spec that the snippets go on from.
pub const GROUND: &str = "cupola: v1
name: example
jobs:
  corpus:
    kind: data
    sources:
      - { name: code, format: rust, paths: [\"src/**/*.rs\"] }
      - { name: docs, format: markdown, paths: [\"docs/*.md\"] }
    pairs: { from: doc_comments }
  vocab: { kind: tokenizer, corpus: corpus, vocab_size: 4096 }
  base: { kind: pretrain, corpus: corpus, tokenizer: vocab, model: { depth: 4 } }
";

/// The example of a code.
pub fn example(code: Code) -> Option<Example> {
    let (bad, good) = of_text(code).or_else(|| of_fields(code)).or_else(|| of_references(code))?;
    Some(Example { bad, good })
}

/// Codes of files and of their text.
fn of_text(code: Code) -> Option<(&'static str, &'static str)> {
    Some(match code {
        Code::Unreadable => ("include: [./defualts.yaml]\n", "include: [./defaults.yaml]\n"),
        Code::BadText => ("description: caf� au lait\n", "description: café au lait\n"),
        Code::Syntax => (
            "jobs:\n  tuned:\n    kind: sft\n   model: base\n",
            "jobs:\n  tuned:\n    kind: sft\n    model: base\n    data: [corpus.pairs]\n",
        ),
        Code::DuplicateKey => {
            ("defaults:\n  seed: 1\n  retries: 2\n  seed: 2\n", "defaults:\n  seed: 2\n  retries: 2\n")
        }
        Code::TooLarge => (
            concat!(
                "a: &a [x, x, x, x, x, x, x, x, x, x]\n",
                "b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n",
                "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\n",
                "d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n",
                "e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\n",
                "f: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]\n",
            ),
            "jobs:\n  words: &words { kind: tokenizer, corpus: corpus, vocab_size: 4096 }\n  more: { <<: *words, vocab_size: 8192 }\n",
        ),
        Code::IncludeCycle => ("include: [./spec.yaml]\n", "include: [./defaults.yaml]\n"),
        Code::UnknownVariable => (
            "vars: { depth: 4 }\njobs:\n  base: { model: { depth: \"${vars.dept}\" } }\n",
            "vars: { depth: 4 }\njobs:\n  base: { model: { depth: \"${vars.depth}\" } }\n",
        ),
        Code::MissingEnvironment => {
            ("description: by ${env.AUTHOR}\n", "description: by ${env.AUTHOR:-somebody}\n")
        }
        Code::UnknownPlaceholder => ("description: by ${author}\n", "description: by $${author}\n"),
        Code::MisplacedSecret => (
            "judges:\n  strict: { base_url: \"http://127.0.0.1:9000/v1\", model: m, api_key: sk-123 }\n",
            "judges:\n  strict: { base_url: \"http://127.0.0.1:9000/v1\", model: m, api_key: \"${secret.JUDGE_KEY}\" }\n",
        ),
        Code::BadOverride => (
            "# cupola validate spec.yaml --set vars..depth=6\nvars: { depth: 4 }\n",
            "# cupola validate spec.yaml --set vars.depth=6\nvars: { depth: 4 }\n",
        ),
        _ => return None,
    })
}

/// Codes of keys and values.
fn of_fields(code: Code) -> Option<(&'static str, &'static str)> {
    Some(match code {
        Code::UnknownKey => (
            "jobs:\n  base: { optimizer: { matrixes: muon } }\n",
            "jobs:\n  base: { optimizer: { matrices: muon } }\n",
        ),
        Code::MissingField => (
            "jobs:\n  words: { kind: tokenizer, corpus: corpus }\n",
            "jobs:\n  words: { kind: tokenizer, corpus: corpus, vocab_size: 8192 }\n",
        ),
        Code::WrongType => ("defaults: { retries: many }\n", "defaults: { retries: 3 }\n"),
        Code::UnknownWord => (
            "jobs:\n  base: { optimizer: { matrices: moun } }\n",
            "jobs:\n  base: { optimizer: { matrices: muon } }\n",
        ),
        Code::Conflict => (
            "jobs:\n  base: { model: { depth: 4, hidden_size: 256 } }\n",
            "jobs:\n  base: { model: { depth: 4 } }\n",
        ),
        Code::BadName => (
            "jobs:\n  my words: { kind: tokenizer, corpus: corpus, vocab_size: 8192 }\n",
            "jobs:\n  my_words: { kind: tokenizer, corpus: corpus, vocab_size: 8192 }\n",
        ),
        Code::MissingUnit => ("defaults: { timeout: 300 }\n", "defaults: { timeout: 300s }\n"),
        Code::WrongUnit => ("jobs:\n  base: { tokens: 2.5m }\n", "jobs:\n  base: { tokens: 2.5M }\n"),
        Code::OutOfRange => ("budget: { devices: 0 }\n", "budget: { devices: 1 }\n"),
        Code::BadWeights => (
            "jobs:\n  corpus: { domains: { weights: { code: 0.7, docs: 0.2 } } }\n",
            "jobs:\n  corpus: { domains: { weights: { code: 0.7, docs: 0.3 } } }\n",
        ),
        Code::BadPhases => (
            "jobs:\n  base:\n    phases:\n      - { until: 80%, lr: constant }\n      - { until: 90%, lr: linear_to_zero }\n",
            "jobs:\n  base:\n    phases:\n      - { until: 80%, lr: constant }\n      - { until: 100%, lr: linear_to_zero }\n",
        ),
        Code::BadCron => (
            "schedules:\n  nightly: { cron: \"0 25 * * *\", jobs: [base] }\n",
            "schedules:\n  nightly: { cron: \"0 2 * * *\", jobs: [base] }\n",
        ),
        Code::BadTimezone => (
            "schedules:\n  nightly: { cron: \"0 2 * * *\", timezone: Europe/Berlni, jobs: [base] }\n",
            "schedules:\n  nightly: { cron: \"0 2 * * *\", timezone: Europe/Berlin, jobs: [base] }\n",
        ),
        Code::BadAddress => (
            "serve: { model: base, listen: localhost }\n",
            "serve: { model: base, listen: 127.0.0.1:8080 }\n",
        ),
        Code::BadExpression => (
            "jobs:\n  report: { kind: eval, models: [base], suites: [{ perplexity: { on: corpus.validation } }] }\nserve: { model: base, promote_if: \"report.perplexity.base.bpb < 1.2\" }\n",
            "jobs:\n  report: { kind: eval, models: [base], suites: [{ perplexity: { on: corpus.validation } }] }\nserve: { model: base, promote_if: \"report.perplexity.base.bpb.high < 1.2\" }\n",
        ),
        Code::BadPattern => (
            "jobs:\n  vocab: { pattern: '(\\p{L}+|\\d' }\n",
            "jobs:\n  vocab: { pattern: '(\\p{L}+|\\d)' }\n",
        ),
        _ => return None,
    })
}

/// Codes of names and of what they refer to.
fn of_references(code: Code) -> Option<(&'static str, &'static str)> {
    Some(match code {
        Code::UnknownJob => {
            ("jobs:\n  base: { tokenizer: vocap }\n", "jobs:\n  base: { tokenizer: vocab }\n")
        }
        Code::UnknownPart => (
            "jobs:\n  tuned: { kind: sft, model: base, data: [corpus.pears] }\n",
            "jobs:\n  tuned: { kind: sft, model: base, data: [corpus.pairs] }\n",
        ),
        Code::WrongKind => ("serve: { model: corpus }\n", "serve: { model: base }\n"),
        Code::Cycle => ("jobs:\n  vocab: { after: [base] }\n", "jobs:\n  base: { after: [vocab] }\n"),
        Code::UnknownDomain => (
            "jobs:\n  base:\n    phases:\n      - { until: 100%, weights: { code: 0.5, prose: 0.5 } }\n",
            "jobs:\n  base:\n    phases:\n      - { until: 100%, weights: { code: 0.5, docs: 0.5 } }\n",
        ),
        Code::DuplicateName => (
            "jobs:\n  report:\n    kind: eval\n    models: [base, base]\n    suites: [{ perplexity: { on: corpus.validation } }]\n",
            "jobs:\n  report:\n    kind: eval\n    models: [base]\n    suites: [{ perplexity: { on: corpus.validation } }]\n",
        ),
        Code::UnknownModel => (
            "jobs:\n  report:\n    kind: eval\n    models: [base]\n    suites:\n      - { judge: { model: tuned, baseline: base, prompts: corpus.validation_pairs } }\n",
            "jobs:\n  tuned: { kind: sft, model: base, data: [corpus.pairs] }\n  report:\n    kind: eval\n    models: [base, tuned]\n    suites:\n      - { judge: { model: tuned, baseline: base, prompts: corpus.validation_pairs } }\n",
        ),
        Code::AmbiguousMatrix => (
            "jobs:\n  base: { matrix: { seed: [1, 2] } }\n  tuned: { kind: sft, model: base, data: [corpus.pairs] }\n",
            "jobs:\n  base: { matrix: { seed: [1, 2] } }\n  tuned: { kind: sft, model: \"base[seed=1]\", data: [corpus.pairs] }\n",
        ),
        Code::UnknownJudge => (
            "jobs:\n  tuned: { kind: sft, model: base, data: [corpus.pairs] }\n  report:\n    kind: eval\n    models: [base, tuned]\n    suites:\n      - { judge: { model: tuned, baseline: base, prompts: corpus.validation_pairs, judge: refrence } }\n",
            "jobs:\n  tuned: { kind: sft, model: base, data: [corpus.pairs] }\n  report:\n    kind: eval\n    models: [base, tuned]\n    suites:\n      - { judge: { model: tuned, baseline: base, prompts: corpus.validation_pairs, judge: reference } }\n",
        ),
        Code::TooMuchMemory => (
            "jobs:\n  base: { model: { depth: 20 }, context: { length: 4096 }, batch: { global_tokens: 1048576, micro_batch: 256 } }\n",
            "jobs:\n  base: { model: { depth: 20 }, context: { length: 4096 }, batch: { global_tokens: 1048576, micro_batch: 1 } }\n",
        ),
        Code::Unsupported => (
            "jobs:\n  tuned: { kind: sft, model: base, data: [{ synthesize: { seeds: ./seeds.jsonl, teacher: judge, count: 10 } }] }\n",
            "jobs:\n  tuned: { kind: sft, model: base, data: [corpus.pairs] }\n",
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::spec::{Environment, load};

    /// Files in memory, and no variable.
    struct World(BTreeMap<&'static str, Vec<u8>>);

    impl Environment for World {
        fn variable(&self, _name: &str) -> Option<String> {
            None
        }

        fn home(&self) -> Option<PathBuf> {
            None
        }

        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            let file = path.to_str().and_then(|path| self.0.get(path));
            file.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }

    /// The codes that a snippet gives.
    fn codes(snippet: &str) -> Vec<&'static str> {
        let text = if snippet.contains("include:") {
            format!("{GROUND}{snippet}")
        } else {
            format!("{snippet}include: [./ground.yaml]\n")
        };
        let mut bytes = Vec::new();
        for c in text.chars() {
            match c {
                '\u{fffd}' => bytes.push(0xe9),
                c => bytes.extend(c.to_string().into_bytes()),
            }
        }
        let command = snippet.lines().next().and_then(|line| line.split_once(" --set "));
        let sets: Vec<(String, String)> = command
            .and_then(|(_, set)| set.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into_iter()
            .collect();
        let world = World(BTreeMap::from([
            ("spec.yaml", bytes),
            ("ground.yaml", GROUND.as_bytes().to_vec()),
            ("defaults.yaml", b"defaults: { seed: 2 }\n".to_vec()),
        ]));
        match load(Path::new("spec.yaml"), &sets, &world) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(|d| d.code.as_str()).collect(),
        }
    }

    #[test]
    fn each_code_has_an_example_that_gives_it_alone_and_one_that_mends_it() {
        for code in Code::ALL {
            let example = example(*code).unwrap_or_else(|| panic!("{} has no example", code.as_str()));
            let found = codes(example.bad);
            if *code == Code::TooMuchMemory {
                // What a machine has is no matter of the language: the plan says it.
                assert_eq!((found, codes(example.good)), (Vec::new(), Vec::new()));
                continue;
            }
            assert!(!found.is_empty(), "{} is accepted:\n{}", code.as_str(), example.bad);
            assert!(found.iter().all(|other| *other == code.as_str()), "{}: {found:?}", code.as_str());
            assert_eq!(codes(example.good), [""; 0], "{}:\n{}", code.as_str(), example.good);
        }
    }
}
