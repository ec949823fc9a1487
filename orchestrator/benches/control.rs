//! What very many steps cost who looks at them: `cupola status` over a run of 100,000 steps, a restart over all its records, `cupola apply`
//! of 10,000 unchanged steps, and a daemon that has nothing to do. The commands are started as a user starts them.
//!
//! `cargo bench -p cupola --bench control`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cupola::chaos::fan_plan;
use cupola::executor::{AttemptRef, Executor, ExecutorError, Observation, WorkOrder};
use cupola::plan::{FileHashes, Machine, Plan, decide, lower};
use cupola::run::{Console, Signals, Slots, SystemClock, World, apply};
use cupola::state::{State, StateDir};
use cupola::store::{ArtifactStore, StoreError, StoredArtifact};
use cupola_specs::artifact::Manifest;
use cupola_specs::contract::{Event, EventBody, ShimResult};
use cupola_specs::spec::{ProcessEnvironment, load};
use nix::sys::resource::{UsageWho, getrusage};

/// The first argument of the process that [`measure`] runs in.
const MEASURE: &str = "--measure";
/// Runs of each command.
const ROUNDS: usize = 9;
/// Steps that run at a time where steps are no processes.
const WIDTH: u32 = 500;

/// Attempts that end as soon as they begin.
#[derive(Default)]
struct Instantly(BTreeSet<PathBuf>);

impl Executor for Instantly {
    fn submit(&mut self, attempt: &AttemptRef, _order: &WorkOrder<'_>) -> Result<(), ExecutorError> {
        self.0.insert(attempt.dir.clone());
        Ok(())
    }

    fn observe(&mut self, attempt: &AttemptRef) -> Result<Observation, ExecutorError> {
        Ok(Observation::Exited(ShimResult {
            token: attempt.token.clone(),
            exit_code: Some(0),
            signal: None,
            peak_rss_bytes: 4 << 20,
            cpu_millis: 1,
            out_of_memory: false,
        }))
    }

    fn events(&mut self, _attempt: &AttemptRef, offset: u64) -> Result<(Vec<Event>, u64), ExecutorError> {
        let body = EventBody::Finished { summary: serde_json::Map::new() };
        Ok((vec![Event { at_millis: 0, body }], offset + 1))
    }

    fn devices(&mut self, _attempt: &AttemptRef) -> Vec<u32> {
        Vec::new()
    }

    fn cancel(&mut self, _attempt: &AttemptRef, _force: bool) -> Result<(), ExecutorError> {
        Ok(())
    }

    fn wait(&mut self, _millis: u64) -> Vec<PathBuf> {
        std::mem::take(&mut self.0).into_iter().collect()
    }
}

/// A store that writes a manifest and nothing else.
struct Manifests {
    dir: StateDir,
    done: Vec<(usize, Result<StoredArtifact, StoreError>)>,
}

impl ArtifactStore for Manifests {
    fn contains(&self, _kind: &str, _fingerprint: &str) -> bool {
        false
    }

    fn get(&self, _kind: &str, _fingerprint: &str) -> Result<Option<StoredArtifact>, StoreError> {
        Ok(None)
    }

    fn is_staged(&self, _staging: &Path) -> bool {
        false
    }

    fn begin_commit(
        &mut self,
        ticket: usize,
        _staging: PathBuf,
        manifest: Manifest,
        _awaited: bool,
    ) -> Result<(), StoreError> {
        let path = self.dir.store().join(&manifest.kind).join(&manifest.fingerprint);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
        self.done.push((ticket, Ok(StoredArtifact { path, manifest })));
        Ok(())
    }

    fn take_commits(&mut self) -> Vec<(usize, Result<StoredArtifact, StoreError>)> {
        std::mem::take(&mut self.done)
    }

    fn discard(&mut self, _folder: PathBuf) {}

    fn bytes_below(&self, _folder: &Path) -> u64 {
        0
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }
}

/// Runs a plan in no time, with every record that a run of processes leaves.
fn run_at_once(dir: &StateDir, plan: &Plan) {
    let mut state = State::open(dir, "bench").unwrap();
    let decisions = decide(plan, None, state.projection(), &|_, _| false).unwrap();
    let artifacts = Manifests { dir: dir.clone(), done: Vec::new() };
    let world = World { executor: Instantly::default(), clock: SystemClock::default(), artifacts };
    let mut console = Console { signals: &Signals::default(), requests: &mut Vec::new, show: &mut |_, _| {} };
    apply(
        &mut state,
        plan,
        &decisions,
        world,
        (Slots { cores: WIDTH, devices: 0, memory_bytes: Slots::ANY_MEMORY }, &mut console),
    )
    .unwrap();
}

/// Fine-tunings of one model with `count` seeds.
fn many_jobs(folder: &Path, count: usize) -> PathBuf {
    let source = folder.join("source.txt");
    std::fs::write(&source, "text\n").unwrap();
    let spec = folder.join("many.yaml");
    let seeds: Vec<String> = (1..=count).map(|seed| seed.to_string()).collect();
    let text = format!(
        "cupola: v1
name: many
jobs:
  corpus:
    kind: data
    sources: [{{ name: code, format: text, paths: [\"{}\"] }}]
    pairs: {{ from: doc_comments }}
  vocab: {{ kind: tokenizer, corpus: corpus, vocab_size: 4096 }}
  base: {{ kind: pretrain, corpus: corpus, tokenizer: vocab, model: {{ depth: 4 }}, tokens: 2M }}
  tuned:
    matrix: {{ seed: [{}] }}
    kind: sft
    model: base
    data: [corpus.pairs]
",
        source.display(),
        seeds.join(", ")
    );
    std::fs::write(&spec, text).unwrap();
    spec
}

/// Median seconds and the largest peak in MiB of a command, which has to succeed.
fn cost(state: &Path, arguments: &[&str]) -> (f64, u64) {
    let mut seconds = Vec::new();
    let mut peak = 0;
    for _ in 0..ROUNDS {
        let mut measure = Command::new(std::env::current_exe().unwrap());
        measure.arg(MEASURE).args(arguments).arg("--state").arg(state);
        let output = measure.stderr(Stdio::inherit()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut numbers = text.split_whitespace().map(|number| number.parse::<f64>().unwrap());
        seconds.push(numbers.next().unwrap());
        peak = peak.max(numbers.next().unwrap() as u64);
    }
    seconds.sort_by(f64::total_cmp);
    (seconds[ROUNDS / 2], peak)
}

/// What a process of its own does for [`cost`]: the peak of a child is counted from what its parent held.
fn measure(arguments: &[String]) {
    let since = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cupola"));
    let status = command.args(arguments).stdout(Stdio::null()).status().unwrap();
    let seconds = since.elapsed().as_secs_f64();
    assert!(status.success(), "{arguments:?}: {status}");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    println!("{seconds} {}", usage.max_rss() as u64 / 1_024);
}

/// Resident MiB of a daemon two seconds after its start.
fn idle_daemon(state: &Path) -> f64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cupola"));
    command.args(["daemon", "--listen", "127.0.0.1:0", "--state"]).arg(state);
    let mut daemon = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
    let resident: f64 = resident.expect("the daemon runs").parse().unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    resident / 1_024.0
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == MEASURE) {
        return measure(&arguments[1..]);
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let say = |what: &str, seconds: f64, mib: u64| println!("{what:54} {:6.0} ms {mib:6} MiB", seconds * 1e3);

    let many = StateDir::new(&folder.path().join("many"));
    run_at_once(&many, &fan_plan(Path::new("fan.yaml"), 100_000).unwrap());
    let (seconds, mib) = cost(many.root(), &["status"]);
    say("status of a run of 100,000 steps", seconds, mib);
    let (seconds, mib) = cost(many.root(), &["get", "runs"]);
    say("get runs", seconds, mib);
    let since = Instant::now();
    let records = State::open(&many, "bench").unwrap().projection().seq();
    let seconds = since.elapsed().as_secs_f64();
    println!("{:54} {:6.0} ms", format!("restart over {records} records, with a snapshot"), seconds * 1e3);
    std::fs::remove_file(many.snapshot()).unwrap();
    let since = Instant::now();
    drop(State::open(&many, "bench").unwrap());
    let seconds = since.elapsed().as_secs_f64();
    println!("{:54} {:6.0} ms", format!("restart over {records} records, without one"), seconds * 1e3);

    let spec = many_jobs(folder.path(), 10_000);
    let unchanged = StateDir::new(&folder.path().join("unchanged"));
    let resolved = load(&spec, &[], &ProcessEnvironment).unwrap();
    let steps = lower(&resolved, Machine::detect()).unwrap();
    let plan = Plan::build(&resolved.name, &resolved.file, steps, &mut FileHashes::default()).unwrap();
    run_at_once(&unchanged, &plan);
    let path = spec.display().to_string();
    // The first one writes the report that a run of processes would have.
    cost(unchanged.root(), &["apply", &path]);
    let (seconds, mib) = cost(unchanged.root(), &["apply", &path]);
    say(&format!("apply of {} unchanged steps", plan.steps.len()), seconds, mib);
    let (seconds, mib) = cost(unchanged.root(), &["plan", &path]);
    say("plan of them", seconds, mib);

    println!("{:54} {:16.1} MiB", "idle daemon", idle_daemon(&folder.path().join("idle")));
}
