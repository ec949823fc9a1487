//! Estimates from history, and what is said of what does not fit.

use super::*;
use crate::plan::decide;
use crate::plan::quickstart::World;
use crate::state::{AttemptOutcome, CommittedArtifact, Fact, PlannedStep, State, StateDir};

const PLENTY: Resources = Resources { cores: 2, memory_bytes: 1 << 40, free_bytes: 1 << 40 };

/// State in which one step of the plan has been done, in so many FLOPs.
fn done(dir: &StateDir, plan: &Plan, name: &str, training_flops: f64) -> State {
    let planned = plan.step(name).unwrap();
    let (run, step, token) = ("quickstart-1".to_owned(), name.to_owned(), "1.1".to_owned());
    let fingerprint = planned.fingerprint.clone();
    let before = PlannedStep {
        name: step.clone(),
        job: planned.step.job.clone(),
        kind: planned.step.kind(),
        fingerprint: fingerprint.clone(),
        code_version: 1,
        params: serde_json::Value::Null,
        inputs: planned.inputs.clone(),
        needs: Vec::new(),
        sources: planned.sources.clone(),
        seed: 1,
        cores: 2,
        cached: false,
        reason: String::new(),
        training_flops,
    };
    let mut state = State::open(dir, "test").unwrap();
    let record = |state: &mut State, fact| state.record(vec![fact]).unwrap();
    let (spec_name, spec_path) = (plan.spec_name.clone(), plan.spec_path.clone());
    record(&mut state, Fact::RunCreated { run: run.clone(), spec_name, spec_path, plan_hash: String::new() });
    record(&mut state, Fact::StepsPlanned { run: run.clone(), steps: vec![before] });
    let dir = "runs/quickstart-1/x".into();
    let (run_of, step_of, token_of) = (|| run.clone(), || step.clone(), || token.clone());
    record(
        &mut state,
        Fact::AttemptIntended { run: run_of(), step: step_of(), number: 1, token: token_of(), dir },
    );
    std::thread::sleep(std::time::Duration::from_millis(40));
    let (outcome, peak_rss_bytes, cpu_millis) = (AttemptOutcome::Succeeded, 3 << 20, 1);
    record(
        &mut state,
        Fact::AttemptEnded {
            run: run_of(),
            step: step_of(),
            token: token_of(),
            outcome,
            peak_rss_bytes,
            cpu_millis,
        },
    );
    let kind = planned.step.kind().artifact_kind().to_owned();
    let (path, size_bytes, summary) = ("store/x".into(), 5 << 20, serde_json::Map::new());
    let artifact = CommittedArtifact {
        run: run_of(),
        step: step_of(),
        token: token_of(),
        fingerprint,
        kind,
        path,
        size_bytes,
        summary,
    };
    record(&mut state, Fact::ArtifactCommitted(Box::new(artifact)));
    state
}

#[test]
fn time_follows_compute_and_the_rest_is_as_it_was() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let (before, now) = (world.plan(&[]), world.plan(&[("jobs.base.tokens", "3M")]));
    let flops = training_flops_of(&before, &before.step("base").unwrap().step).unwrap();
    let state = done(&StateDir::new(folder.path()), &before, "base", flops);
    let decisions = decide(&now, None, state.projection(), &|_, _| false).unwrap();
    let spec = world.spec(&[]);
    let of = |plan: &Plan, resources| {
        estimate(plan, &decisions, state.projection(), (resources, &spec.budget)).unwrap()
    };
    let at = now.steps.iter().position(|planned| planned.step.name == "base").unwrap();
    let (short, long) = (of(&before, PLENTY), of(&now, PLENTY));
    let secs = |estimate: &Estimate| estimate.steps[at].as_ref().unwrap().secs.unwrap();
    assert!(secs(&short) >= 0.04 && (secs(&long) / secs(&short) - 2.0).abs() < 1e-9, "{short:?} {long:?}");
    let base = long.steps[at].as_ref().unwrap();
    assert_eq!(base.peak_bytes, Some(3 << 20));
    assert!(base.disk_bytes > Some(5 << 20), "its checkpoints take more than its weights: {base:?}");
    assert_eq!(base.tokens.unwrap().needed as u64, 3_000_000);
    // Sweeps never ran, and training as such did.
    let sweep = now.steps.iter().position(|planned| planned.step.name == "law/sweep[lstm,1]").unwrap();
    assert!(long.steps[sweep].as_ref().unwrap().secs.is_some_and(|secs| secs > 0.0));
    assert!(long.num_unknown > 0 && long.wall_secs <= long.work_secs && long.warnings.is_empty(), "{long:?}");
}

#[test]
fn what_does_not_fit_is_said_before_anything_runs() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let plan = world.plan(&[]);
    let state = done(&StateDir::new(folder.path()), &plan, "base", 1.0);
    let decisions = decide(&plan, None, state.projection(), &|_, _| false).unwrap();
    let spec = world.spec(&[("budget.hours", "0.0001")]);
    let little = Resources { cores: 2, memory_bytes: 1 << 20, free_bytes: 1 << 20 };
    let told = estimate(&plan, &decisions, state.projection(), (little, &spec.budget)).unwrap();
    let says = |words: &str| told.warnings.iter().any(|warning| warning.contains(words));
    assert!(says("`base` takes") && says("of memory, and there are 1 MiB"), "{:?}", told.warnings);
    assert!(says("free on the disk of the state folder"), "{:?}", told.warnings);
    assert!(says("and the budget is 0.4 s"), "{:?}", told.warnings);
}
