//! How long a plan of N steps takes from a resolved spec to decisions, for N = 1,000, 10,000 and 100,000: lowering, building (order and
//! fingerprints), deciding on an empty state, hashing and selecting; and all of it again where every artifact is in the store.
//!
//! `cargo bench -p cupola --bench plan [-- N…]`
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cupola::plan::{Action, FileHashes, Machine, Plan, decide, lower};
use cupola::state::{CommittedArtifact, Fact, Projection, State, StateDir};
use cupola::store::Store;
use cupola_specs::spec::{Environment, ResolvedSpec, parse};

/// A corpus, a tokenizer and a base model, which the other jobs refer to.
const HEAD: &str = "cupola: v1
name: many
jobs:
  corpus:
    kind: data
    sources: [{ name: code, format: text, paths: [\"SOURCE\"] }]
    pairs: { from: doc_comments }
  vocab: { kind: tokenizer, corpus: corpus, vocab_size: 4096 }
  base: { kind: pretrain, corpus: corpus, tokenizer: vocab, model: { depth: 4 }, tokens: 2M }
";

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

/// Fine-tunings and reports; each report waits for the one before it, each tenth job goes on with the model of the one ten before.
fn spec(jobs: usize, source: &Path) -> ResolvedSpec {
    let mut text = HEAD.replace("SOURCE", &source.to_string_lossy());
    for i in 0..jobs.saturating_sub(4) {
        let tuned = i / 10 * 10;
        if i % 10 == 0 {
            let model = if i == 0 { "base".to_owned() } else { format!("tuned{}", i - 10) };
            let _ = writeln!(text, "  tuned{i}: {{ kind: sft, model: {model}, data: [corpus.pairs] }}");
            continue;
        }
        let after = if i % 10 == 1 { "base".to_owned() } else { format!("report{}", i - 1) };
        let suites = "[{ perplexity: { on: corpus.validation } }]";
        let _ = writeln!(
            text,
            "  report{i}: {{ kind: eval, models: [base, tuned{tuned}], suites: {suites}, after: [{after}] }}"
        );
    }
    parse(Path::new("many.yaml"), text.as_bytes(), &[], &Nowhere).unwrap()
}

/// Milliseconds that something takes, and what it gives.
fn timed<T>(of: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let value = black_box(of());
    (start.elapsed().as_secs_f64() * 1e3, value)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Columns of the table.
#[derive(Default)]
struct Times {
    lower: Vec<f64>,
    build: Vec<f64>,
    decide: Vec<f64>,
    hash: Vec<f64>,
    select: Vec<f64>,
}

impl Times {
    fn row(&self, name: &str, steps: usize) {
        let columns =
            [&self.lower, &self.build, &self.decide, &self.hash, &self.select].map(|t| median(t.clone()));
        let total: f64 = columns[..4].iter().sum();
        let [lower, build, decide, hash, select] = columns;
        println!(
            "{name:8} {steps:>8} {lower:>9.2} {build:>9.2} {decide:>9.2} {hash:>9.2} {total:>9.2} {select:>9.2}"
        );
    }
}

fn measure(spec: &ResolvedSpec, projection: &Projection, store: &Store, runs: usize) -> (Times, Plan, usize) {
    let machine = Machine { cores: 2, devices: 0, cpu_bf16: false };
    let mut times = Times::default();
    let mut last = None;
    for _ in 0..runs {
        let (ms, steps) = timed(|| lower(spec, machine).unwrap());
        times.lower.push(ms);
        let build = || Plan::build(&spec.name, &spec.file, steps, &mut FileHashes::default()).unwrap();
        let (ms, plan) = timed(build);
        times.build.push(ms);
        let is_there = |kind: &str, fingerprint: &str| store.contains(kind, fingerprint);
        let (ms, decisions) = timed(|| decide(&plan, Some(spec), projection, &is_there).unwrap());
        times.decide.push(ms);
        times.hash.push(timed(|| plan.hash()).0);
        let name = plan.steps.last().map(|last| last.step.job.clone()).unwrap_or_default();
        let whole = plan.clone();
        times.select.push(timed(|| whole.select(&[name], false).unwrap().steps.len()).0);
        let cached = decisions.iter().filter(|decision| decision.action == Action::Cached).count();
        last = Some((plan, cached));
    }
    let (plan, cached) = last.unwrap();
    (times, plan, cached)
}

/// Puts an artifact for every step into the store and the journal.
fn commit_all(plan: &Plan, dir: &StateDir, store: &Store) -> Projection {
    let mut state = State::open(dir, "bench").unwrap();
    let mut facts = Vec::new();
    for planned in &plan.steps {
        let kind = planned.step.kind().artifact_kind();
        let path = store.path(kind, &planned.fingerprint);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("manifest.json"), "{}").unwrap();
        facts.push(Fact::ArtifactCommitted(Box::new(CommittedArtifact {
            run: "many-1".to_owned(),
            step: planned.step.name.clone(),
            token: "1.1".to_owned(),
            fingerprint: planned.fingerprint.clone(),
            kind: kind.to_owned(),
            path: dir.below(&path),
            size_bytes: 2,
            summary: serde_json::Map::new(),
        })));
    }
    state.record(facts).unwrap();
    state.projection().clone()
}

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1_000, 10_000, 100_000] } else { sizes };
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.txt");
    std::fs::write(&source, "text").unwrap();
    println!("medians, ms; total is lower + build + decide + hash");
    println!(
        "{:8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "state", "steps", "lower", "build", "decide", "hash", "total", "select"
    );
    for size in sizes {
        let spec = spec(size, &source);
        let dir = StateDir::new(&folder.path().join(format!("state-{size}")));
        let store = Store::new(&dir);
        let runs = if size > 20_000 { 5 } else { 15 };
        let (times, plan, cached) = measure(&spec, &Projection::new(&dir), &store, runs);
        assert_eq!(cached, 0);
        times.row("empty", plan.steps.len());
        if size > 20_000 {
            continue;
        }
        let projection = commit_all(&plan, &dir, &store);
        let (times, plan, cached) = measure(&spec, &projection, &store, runs);
        assert_eq!(cached, plan.steps.len());
        times.row("cached", plan.steps.len());
    }
}
