//! Runs of real processes under real shims, with a worker that is a small script: kills of every part at bad moments.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cupola::executor::LocalExecutor;
use cupola::plan::{FileHashes, Input, Machine, Plan, Step, StepSettings, decide, lower};
use cupola::run::{Applied, Console, DriveEnd, Signals, Slots, SystemClock, World, apply, take_requests};
use cupola::state::{AttemptView, RunState, RunView, State, StateDir, StateError, StepState, read_state};
use cupola::store::{Committer, Store};
use cupola_specs::contract::JobFile;
use cupola_specs::job::{FitMethod, FitParams, FitTarget, StepParams};
use cupola_specs::spec::ProcessEnvironment;

struct House {
    folder: tempfile::TempDir,
    worker: PathBuf,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let worker = folder.path().join("worker.sh");
        std::fs::write(&worker, include_str!("worker.sh")).unwrap();
        std::fs::set_permissions(&worker, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, worker }
    }

    fn dir(&self) -> StateDir {
        StateDir::new(&self.folder.path().join("state"))
    }

    fn executor(&self) -> LocalExecutor {
        LocalExecutor::new(PathBuf::from(env!("CARGO_BIN_EXE_cupola-shim")), self.worker.clone()).unwrap()
    }

    fn apply(&self, plan: &Plan, signals: &Signals, show: &mut dyn FnMut(&RunView, i64)) -> Applied {
        let dir = self.dir();
        let mut state = State::open(&dir, "apply").unwrap();
        let store = Store::new(&dir);
        let decisions =
            decide(plan, None, state.projection(), &|kind, fingerprint| store.contains(kind, fingerprint))
                .unwrap();
        let slots = Slots { cores: 2, devices: 0, memory_bytes: Slots::ANY_MEMORY };
        let executor = self.executor();
        let artifacts = Committer::new(store, &executor.waker()).unwrap();
        let world = World { executor, clock: SystemClock::default(), artifacts };
        let control = dir.control();
        let mut console = Console { signals, requests: &mut || take_requests(&control), show };
        apply(&mut state, plan, &decisions, world, (slots, &mut console)).unwrap()
    }

    fn apply_quietly(&self, plan: &Plan) -> Applied {
        self.apply(plan, &Signals::default(), &mut |_, _| {})
    }

    fn output(&self, plan: &Plan, step: &str) -> String {
        let planned = plan.step(step).unwrap();
        let store = Store::new(&self.dir());
        std::fs::read_to_string(store.path("law", &planned.fingerprint).join("out")).unwrap()
    }
}

fn step(name: &str, inputs: &[&str], tokens: f64) -> Step {
    let roles = inputs.iter().enumerate();
    Step {
        name: name.to_owned(),
        job: name.to_owned(),
        params: StepParams::Fit(FitParams {
            methods: vec![FitMethod::Envelope],
            target: FitTarget::Flops { flops: 1.0 },
            inference_tokens: tokens,
        }),
        inputs: roles.map(|(i, name)| (format!("sweep.{i}"), Input::Step((*name).to_owned()))).collect(),
        sources: Vec::new(),
        after: Vec::new(),
        seed: name.len() as u64,
        settings: StepSettings { retries: 2, timeout_secs: 60.0, ..StepSettings::PLAIN },
    }
}

fn plan(steps: Vec<Step>) -> Plan {
    Plan::build("test", Path::new("test.yaml"), steps, &mut FileHashes::default()).unwrap()
}

fn diamond(tokens: f64) -> Plan {
    plan(vec![
        step("top", &[], 1.0),
        step("left-slow", &["top"], tokens),
        step("right-flaky", &["top"], 2.0),
        step("bottom", &["left-slow", "right-flaky"], 3.0),
    ])
}

/// A training step: only such a one has micro-batches.
fn training(name: &str) -> Step {
    let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs/quickstart.yaml");
    let spec = cupola_specs::spec::load(&spec, &[], &ProcessEnvironment).unwrap();
    let steps = lower(&spec, Machine::detect()).unwrap();
    let params = steps.into_iter().find(|step| step.name == "base").unwrap().params;
    Step { params, ..step(name, &[], 1.0) }
}

#[test]
fn a_training_step_over_its_memory_is_tried_with_half_the_micro_batch_until_it_fits() {
    let house = House::new();
    let mut greedy = training("greedy");
    greedy.settings.memory_limit_bytes = 100 << 20;
    greedy.settings.retries = 0;
    let applied = house.apply_quietly(&plan(vec![greedy]));
    assert_eq!(applied.run.state, RunState::Succeeded, "{:#?}", applied.run);
    let step = applied.run.step("greedy").unwrap();
    let told: Vec<_> = step.attempts.iter().map(|attempt| attempt.error.as_ref().map(|e| &*e.code)).collect();
    // 256 MB, 128 MB, 64 MB.
    assert_eq!(told, [Some("out_of_memory"), Some("out_of_memory"), None]);
    let halvings = |attempt: &AttemptView| {
        let job = std::fs::read_to_string(attempt.dir.join("job.json")).unwrap();
        serde_json::from_str::<JobFile>(&job).unwrap().micro_batch_halvings
    };
    assert_eq!(step.attempts.iter().map(halvings).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_step_without_micro_batches_over_its_memory_uses_its_retries() {
    let house = House::new();
    let mut greedy = step("greedy", &[], 1.0);
    greedy.settings.memory_limit_bytes = 100 << 20;
    greedy.settings.retries = 1;
    let applied = house.apply_quietly(&plan(vec![greedy]));
    assert_eq!(applied.run.state, RunState::Failed);
    let step = applied.run.step("greedy").unwrap();
    assert_eq!((step.attempts.len(), step.error.as_ref().unwrap().code.as_str()), (2, "out_of_memory"));
}

fn kill(pid: u32) {
    Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
}

fn counts(run: &RunView) -> BTreeMap<StepState, usize> {
    run.counts()
}

#[test]
fn a_graph_runs_retries_is_cached_and_one_change_runs_just_what_is_downstream() {
    let house = House::new();
    let plan = diamond(1.0);
    let first = house.apply_quietly(&plan);
    assert_eq!(first.run.state, RunState::Succeeded, "{:#?}", first.run);
    assert_eq!(house.output(&plan, "bottom"), "top\nleft-slow\ntop\nright-flaky\nbottom\n");
    assert_eq!(first.run.step("right-flaky").unwrap().attempts.len(), 2);
    assert_eq!(first.run.step("left-slow").unwrap().metrics["loss"].last, Some((10, 10.5)));
    let second = house.apply_quietly(&plan);
    assert_eq!((second.end, &second.run.id), (None, &first.run.id));
    let changed = diamond(5.0);
    let third = house.apply_quietly(&changed);
    assert_eq!(counts(&third.run), BTreeMap::from([(StepState::Cached, 2), (StepState::Succeeded, 2)]));
    let reason = &third.run.step("left-slow").unwrap().reason;
    assert!(reason.contains("inference_tokens changed from 1.0 to 5.0"), "{reason}");
    assert!(third.run.step("bottom").unwrap().reason.contains("input sweep.0 changed (left-slow)"));
}

#[test]
fn a_users_error_is_not_retried_and_blocks_what_needs_it() {
    let house = House::new();
    let plan = plan(vec![step("broken", &[], 1.0), step("after", &["broken"], 1.0), step("ok", &[], 1.0)]);
    let applied = house.apply_quietly(&plan);
    assert_eq!(applied.run.state, RunState::Failed);
    assert_eq!(applied.run.step("broken").unwrap().attempts.len(), 1);
    assert_eq!(applied.run.step("broken").unwrap().error.as_ref().unwrap().code, "bad_input");
    assert_eq!(applied.run.step("after").unwrap().state, StepState::Blocked);
    assert_eq!(applied.run.step("ok").unwrap().state, StepState::Succeeded);
}

/// Kills what `victims` gives of the slow step's process ids (worker, shim) once it has saved a checkpoint.
fn kill_in_the_middle(victims: fn(u32, u32) -> Vec<u32>) -> (House, RunView) {
    let house = House::new();
    let plan = plan(vec![step("slow", &[], 1.0)]);
    let mut killed = false;
    let applied = house.apply(&plan, &Signals::default(), &mut |run, _| {
        let slow = run.step("slow").unwrap();
        let begun = slow.checkpoint.as_ref().is_some_and(|record| record.step >= 3);
        if let (false, true, Some(attempt)) = (killed, begun, slow.attempts.last()) {
            let text = std::fs::read_to_string(attempt.dir.join("started.json")).unwrap();
            let started: cupola_specs::contract::Started = serde_json::from_str(&text).unwrap();
            for pid in victims(started.worker_pid, started.shim_pid) {
                kill(pid);
            }
            killed = true;
        }
    });
    assert!(killed, "the worker was never seen");
    assert_eq!(applied.run.state, RunState::Succeeded);
    assert_eq!(house.output(&plan, "slow"), "slow\n");
    (house, applied.run)
}

#[test]
fn a_killed_worker_is_retried_and_resumes() {
    let (_house, run) = kill_in_the_middle(|worker, _| vec![worker]);
    let attempts = &run.steps[0].attempts;
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0].error.as_ref().unwrap().code, "killed");
    let first = std::fs::read_to_string(attempts[1].dir.join("events.jsonl")).unwrap();
    assert!(!first.contains("\"checkpoint\",\"step\":1,"), "it began again: {first}");
}

#[test]
fn a_killed_shim_leaves_its_worker_to_finish() {
    let (_house, run) = kill_in_the_middle(|_, shim| vec![shim]);
    assert_eq!(run.steps[0].attempts.len(), 1);
}

#[test]
fn a_killed_shim_and_worker_are_proven_dead_and_retried() {
    let (_house, run) = kill_in_the_middle(|worker, shim| vec![shim, worker]);
    assert_eq!(run.steps[0].attempts.len(), 2);
    assert_eq!(run.steps[0].attempts[0].outcome, "lost");
}

#[test]
fn an_interrupted_run_checkpoints_and_the_next_apply_goes_on_with_it() {
    let house = House::new();
    let plan = plan(vec![step("slow", &[], 1.0), step("ok", &["slow"], 1.0)]);
    let signals = Signals::default();
    let mut raised = false;
    let first = house.apply(&plan, &signals, &mut |run, _| {
        if !raised && run.step("slow").unwrap().checkpoint.is_some() {
            signals.raise();
            raised = true;
        }
    });
    assert_eq!(first.end, Some(DriveEnd::Ended(RunState::Interrupted)));
    let second = house.apply_quietly(&plan);
    assert_eq!((&second.run.id, second.run.state), (&first.run.id, RunState::Succeeded));
    assert_eq!(second.run.step("slow").unwrap().attempts.len(), 2);
    assert_eq!(house.output(&plan, "ok"), "slow\nok\n");
}

#[test]
fn a_dead_orchestrators_workers_go_on_and_are_taken_over() {
    let house = House::new();
    let plan = plan(vec![step("slow", &[], 1.0), step("ok", &["slow"], 1.0)]);
    let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        house.apply(&plan, &Signals::default(), &mut |run, _| {
            assert!(run.step("slow").unwrap().checkpoint.is_none(), "the orchestrator dies here");
        })
    }));
    assert!(gone.is_err());
    let left = read_state(&house.dir()).unwrap();
    assert_eq!(left.latest_run(None).unwrap().state, RunState::Running);
    let second = house.apply_quietly(&plan);
    assert_eq!(second.run.state, RunState::Succeeded);
    assert_eq!(second.run.step("slow").unwrap().attempts.len(), 1, "it was run again");
    assert_eq!(read_state(&house.dir()).unwrap().runs().len(), 1);
}

#[test]
fn a_worker_that_ends_while_nobody_looks_is_committed_later() {
    let house = House::new();
    let plan = plan(vec![step("slow", &[], 1.0)]);
    let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        house.apply(&plan, &Signals::default(), &mut |run, _| {
            assert!(run.step("slow").unwrap().checkpoint.is_none(), "the orchestrator dies here");
        })
    }));
    assert!(gone.is_err());
    std::thread::sleep(Duration::from_millis(1_500));
    let second = house.apply_quietly(&plan);
    assert_eq!(second.run.step("slow").unwrap().attempts.len(), 1);
    assert_eq!(second.run.state, RunState::Succeeded);
}

#[test]
fn a_second_orchestrator_is_refused_by_name_and_readers_are_not() {
    let house = House::new();
    let plan = plan(vec![step("slow", &[], 1.0)]);
    let dir = house.dir();
    let mut tried = false;
    house.apply(&plan, &Signals::default(), &mut |_, _| {
        let refused = State::open(&dir, "apply").unwrap_err();
        assert!(matches!(refused, StateError::Locked { pid, .. } if pid == std::process::id()));
        assert_eq!(read_state(&dir).unwrap().runs().len(), 1);
        tried = true;
    });
    assert!(tried);
}

#[test]
fn of_steps_with_one_identity_one_works_and_the_others_find_its_artifact() {
    let house = House::new();
    let mut twin = step("slow", &[], 1.0);
    twin.name = "twin".to_owned();
    let plan = plan(vec![step("slow", &[], 1.0), twin, step("after", &["slow", "twin"], 1.0)]);
    assert_eq!(plan.step("slow").unwrap().fingerprint, plan.step("twin").unwrap().fingerprint);
    let applied = house.apply_quietly(&plan);
    assert_eq!(applied.run.state, RunState::Succeeded);
    assert_eq!(counts(&applied.run), BTreeMap::from([(StepState::Cached, 1), (StepState::Succeeded, 2)]));
    assert_eq!(applied.run.step("slow").unwrap().attempts.len(), 1);
}
