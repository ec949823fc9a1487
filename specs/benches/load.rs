//! How long a spec of N jobs takes from bytes to a resolved spec, and how much memory, for N = 1,000, 10,000 and 100,000:
//! written out job by job, as one matrix, and with an error in every job.
//!
//! `cargo bench -p cupola-specs --bench load [-- N…]`

use std::fmt::Write as _;
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cupola_specs::spec::{self, Environment};

/// No variable, no home, no other file.
struct Nowhere;

impl Environment for Nowhere {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn home(&self) -> Option<PathBuf> {
        None
    }

    fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A corpus, a tokenizer and a base model, which the other jobs refer to.
const HEAD: &str = "cupola: v1
name: many
vars: { bytes: 600KB }
jobs:
  corpus:
    kind: data
    sources:
      - { name: code, format: rust, paths: [\"src/**/*.rs\"], max_bytes: 200MB }
    pairs: { from: doc_comments }
  vocab: { kind: tokenizer, corpus: corpus, vocab_size: 4096 }
  base: { kind: pretrain, corpus: corpus, tokenizer: vocab, model: { depth: 4 }, tokens: 2M }
";

/// Reports and fine-tunings: each report waits for the one before it, each tenth job goes on with the model of the one ten before.
fn written_out(jobs: usize) -> String {
    let mut text = HEAD.to_owned();
    for i in 0..jobs {
        if i % 10 == 0 {
            let model = if i == 0 { "base".to_owned() } else { format!("tuned{}", i - 10) };
            let _ = writeln!(
                text,
                "  tuned{i}: {{ kind: sft, model: {model}, data: [corpus.pairs], epochs: 1 }}"
            );
            continue;
        }
        let after = if i % 10 == 1 { "base".to_owned() } else { format!("report{}", i - 1) };
        let _ = writeln!(text, "  report{i}:\n    kind: eval\n    models: [base, tuned{}]", i / 10 * 10);
        let _ = writeln!(
            text,
            "    suites: [{{ perplexity: {{ on: corpus.validation }} }}]\n    after: [{after}]"
        );
    }
    text
}

/// One report for each seed and size.
fn matrix(jobs: usize) -> String {
    let seeds: Vec<String> = (0..jobs / 10).map(|seed| seed.to_string()).collect();
    let suites = "[{ perplexity: { on: corpus.validation, max_bytes: \"${vars.bytes}\" } }]";
    format!(
        "{HEAD}  report:\n    kind: eval\n    models: [base]\n    suites: {suites}\n    matrix:\n      priority: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n      seed: [{}]\n",
        seeds.join(", ")
    )
}

/// The written-out spec with an unknown word in every report.
fn broken(jobs: usize) -> String {
    written_out(jobs).replace("corpus.validation", "corpsu.validation").replace("after:", "aftr:")
}

/// The best of a few runs, and what came of it.
fn time(text: &str, runs: usize) -> (Duration, String) {
    let mut best = Duration::MAX;
    let mut outcome = String::new();
    for _ in 0..runs {
        let start = Instant::now();
        let spec = black_box(spec::parse(Path::new("many.yaml"), text.as_bytes(), &[], &Nowhere));
        best = best.min(start.elapsed());
        outcome = match spec {
            Ok(spec) => format!("{} jobs", spec.jobs.len()),
            Err(errors) => format!("{} errors", errors.0.len()),
        };
    }
    (best, outcome)
}

/// Most memory that this process held so far, MiB; 0 where the system does not say.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}

type Shape = (&'static str, fn(usize) -> String);

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1_000, 10_000, 100_000] } else { sizes };
    let shapes: [Shape; 3] = [("written", written_out), ("matrix", matrix), ("broken", broken)];
    println!("{:8} {:>8} {:>10} {:>10} {:>8}  outcome", "shape", "N", "bytes", "ms", "peak MiB");
    for jobs in sizes {
        for (name, make) in shapes {
            let text = make(jobs);
            let (best, outcome) = time(&text, if jobs > 20_000 { 3 } else { 10 });
            let ms = best.as_secs_f64() * 1e3;
            println!("{name:8} {jobs:>8} {:>10} {ms:>10.2} {:>8}  {outcome}", text.len(), peak_mib());
        }
    }
}
