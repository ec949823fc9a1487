//! Applying a plan: making or continuing a run, taking over what an earlier orchestrator left, and driving it.

use cupola_specs::spec::ResolvedSpec;

use super::{Clock, Console, DriveEnd, Driver, RunError, Slots, World};
use crate::executor::{AttemptRef, Executor, Observation};
use crate::plan::{Action, Decision, Plan, absolute, hashed_params, training_flops_of, trainings_json};
use crate::state::{
    AttemptOutcome, CommittedArtifact, Fact, PlannedStep, Projection, RunRow, RunState, RunView, State,
    StateError, StepMove, StepState, load_run,
};
use crate::store::ArtifactStore;

/// How long workers that nobody needs may take to stop before they are ended.
const GRACE_MILLIS: i64 = 60_000;

/// Steps of a plan in one record of the journal.
const PLAN_RECORD: usize = 256;

/// How applying a plan ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The run as it stands, with curves.
    pub run: RunView,
    /// How driving it ended; none where there was nothing to do.
    pub end: Option<DriveEnd>,
}

/// Makes a run of the plan, or goes on with the newest one of the same plan that has not ended, and drives it. `decisions` are of this
/// plan. Nothing is recorded where every step is cached and a run of the plan succeeded before.
pub fn apply<E: Executor, C: Clock, A: ArtifactStore>(
    state: &mut State,
    plan: &Plan,
    decisions: &[Decision],
    mut world: World<E, C, A>,
    (slots, console): (Slots, &mut Console<'_>),
) -> Result<Applied, RunError> {
    if let Some(id) = done_run(state.projection(), plan, decisions).map(|run| run.id.clone())
        && let Some(run) = load_run(state.projection(), Some(&id))?
    {
        return Ok(Applied { run, end: None });
    }
    let run = begin(state, plan, decisions, &mut world)?;
    let end = Driver::new(state, plan, &run, slots, world)?.drive(console)?;
    let view = load_run(state.projection(), Some(&run))?;
    let run = view.ok_or_else(|| StateError::Database {
        path: state.dir().database(),
        problem: format!("run {run} is not in the projection"),
    })?;
    Ok(Applied { run, end: Some(end) })
}

/// The run that has done all of a plan: the newest of its spec, if that is of this very plan, succeeded, and every step is still cached.
pub fn done_run<'a>(projection: &'a Projection, plan: &Plan, decisions: &[Decision]) -> Option<&'a RunRow> {
    if decisions.iter().any(|decision| decision.action != Action::Cached) {
        return None;
    }
    let latest = projection.latest_run(Some(&plan.spec_name))?;
    (latest.state == RunState::Succeeded && latest.plan_hash == plan.hash()).then_some(latest)
}

/// Makes the run that is to be driven, or finds it, with what an earlier orchestrator left undone.
pub(super) fn begin<E: Executor, C: Clock, A: ArtifactStore>(
    state: &mut State,
    plan: &Plan,
    decisions: &[Decision],
    world: &mut World<E, C, A>,
) -> Result<String, RunError> {
    adopt_stored(state, plan, &world.artifacts)?;
    let run = open_run(state, plan, decisions, &plan.hash())?;
    stop_orphans(state, plan, &mut world.executor, &mut world.clock)?;
    Ok(run)
}

/// Saves the spec's resolved form beside the run, for `diff`, `describe` and people.
pub fn save_spec(state: &State, run: &str, spec: &ResolvedSpec) -> Result<(), StateError> {
    let folder = state.dir().run(run);
    std::fs::create_dir_all(&folder).map_err(StateError::io(&folder))?;
    let path = folder.join("spec.json");
    std::fs::write(&path, serde_json::to_vec_pretty(spec)?).map_err(StateError::io(&path))
}

/// Records artifacts of the plan that are in the store and not in the journal: a commit whose outcome a crash cut off.
fn adopt_stored(state: &mut State, plan: &Plan, store: &impl ArtifactStore) -> Result<(), RunError> {
    let mut facts = Vec::new();
    for planned in &plan.steps {
        let kind = planned.step.kind().artifact_kind();
        if state.projection().artifacts().contains_key(&planned.fingerprint) {
            continue;
        }
        if let Some(stored) = store.get(kind, &planned.fingerprint)? {
            facts.push(Fact::ArtifactCommitted(Box::new(CommittedArtifact {
                run: stored.manifest.run.clone(),
                step: stored.manifest.step.clone(),
                token: String::new(),
                fingerprint: planned.fingerprint.clone(),
                kind: kind.to_owned(),
                path: std::path::Path::new("store").join(kind).join(&planned.fingerprint),
                size_bytes: stored.size_bytes(),
                summary: stored.manifest.summary,
            })));
        }
    }
    if !facts.is_empty() {
        state.record(facts)?;
    }
    Ok(())
}

/// The run to drive: the newest of this plan that has not ended, or a new one. Other runs that have not ended are interrupted.
fn open_run(state: &mut State, plan: &Plan, decisions: &[Decision], hash: &str) -> Result<String, RunError> {
    let mut facts = Vec::new();
    let mut same = None;
    for run in state.projection().runs() {
        if run.state.is_final() {
            continue;
        }
        if run.plan_hash == hash && run.spec_name == plan.spec_name {
            same = Some(run.id.clone());
        } else if run.state != RunState::Interrupted {
            facts.push(Fact::RunMoved { run: run.id.clone(), state: RunState::Interrupted });
        }
    }
    let run = if let Some(run) = same {
        facts.push(Fact::RunMoved { run: run.clone(), state: RunState::Running });
        // Power that failed while the run was made may have torn off the end of its plan.
        let known = state.projection().run(&run).map_or(0, |row| row.steps.len());
        facts.extend(planned_facts(&run, plan, decisions, (state.projection(), known))?);
        facts.extend(reopened_steps(state, &run, decisions));
        run
    } else {
        let run = format!("{}-{}", plan.spec_name, state.projection().runs().len() + 1);
        facts.push(Fact::RunCreated {
            run: run.clone(),
            spec_name: plan.spec_name.clone(),
            spec_path: absolute(&plan.spec_path),
            plan_hash: hash.to_owned(),
        });
        facts.extend(planned_facts(&run, plan, decisions, (state.projection(), 0))?);
        run
    };
    state.record(facts)?;
    Ok(run)
}

/// Steps of a continued run that may run again, or whose artifact has come into the store or gone from it.
fn reopened_steps(state: &State, run: &str, decisions: &[Decision]) -> Vec<Fact> {
    let Some(view) = state.projection().run(run) else { return Vec::new() };
    let mut facts = Vec::new();
    for decision in decisions {
        let Some(step) = view.step(&decision.step) else { continue };
        let to = match (decision.action == Action::Cached, step.state) {
            (true, state) if !state.is_done() => StepMove::Cached,
            (false, state) if state.is_done() => StepMove::Waiting,
            (false, StepState::Failed | StepState::Blocked | StepState::Cancelled | StepState::Backoff) => {
                StepMove::Waiting
            }
            _ => continue,
        };
        facts.push(Fact::StepMoved { run: run.to_owned(), step: step.name.clone(), to });
    }
    facts
}

/// The plan as facts, in records of a size that reads fast; its first `known` steps are there already.
fn planned_facts(
    run: &str,
    plan: &Plan,
    decisions: &[Decision],
    (projection, known): (&Projection, usize),
) -> Result<Vec<Fact>, RunError> {
    let mut steps = Vec::with_capacity(plan.steps.len());
    for (planned, decision) in plan.steps.iter().zip(decisions).skip(known) {
        let kind = planned.step.kind();
        steps.push(PlannedStep {
            name: planned.step.name.clone(),
            job: planned.step.job.clone(),
            kind,
            fingerprint: planned.fingerprint.clone(),
            code_version: kind.code_version(),
            params: hashed_params(&planned.step.params)?,
            inputs: planned.inputs.clone(),
            needs: planned.step.needs(),
            sources: planned.sources.clone(),
            seed: planned.step.seed,
            cores: planned.step.settings.cores,
            cached: decision.action == Action::Cached,
            reason: decision.why(),
            training_flops: training_flops_of(plan, &planned.step).unwrap_or(0.0),
            trainings: trainings_json(plan, planned, projection)?,
            expected: planned.expected,
        });
    }
    let records = steps.chunks(PLAN_RECORD);
    Ok(records.map(|steps| Fact::StepsPlanned { run: run.to_owned(), steps: steps.to_vec() }).collect())
}

/// Workers of earlier runs that this plan has no use for are asked to checkpoint and stop: their slots are needed.
fn stop_orphans<E: Executor, C: Clock>(
    state: &mut State,
    plan: &Plan,
    executor: &mut E,
    clock: &mut C,
) -> Result<(), RunError> {
    let needed = |fingerprint: &str| plan.steps.iter().any(|planned| planned.fingerprint == fingerprint);
    stop_attempts(state, &|_, fingerprint| !needed(fingerprint), executor, clock)
}

/// Cancels a run that nobody drives: its workers checkpoint and stop.
pub fn cancel_idle<E: Executor, C: Clock>(
    state: &mut State,
    run: &str,
    executor: &mut E,
    clock: &mut C,
) -> Result<(), RunError> {
    stop_attempts(state, &|of, _| of == run, executor, clock)?;
    let open = state.projection().run(run).into_iter().flat_map(|view| &view.steps);
    let open = open.filter(|step| !step.state.is_final());
    let mut facts: Vec<Fact> = open
        .map(|step| Fact::StepMoved { run: run.to_owned(), step: step.name.clone(), to: StepMove::Cancelled })
        .collect();
    facts.push(Fact::RunMoved { run: run.to_owned(), state: RunState::Cancelled });
    Ok(state.record(facts)?)
}

/// Stops attempts without an end whose run and fingerprint are `unwanted`, and waits until they are gone.
fn stop_attempts<E: Executor, C: Clock>(
    state: &mut State,
    unwanted: &dyn Fn(&str, &str) -> bool,
    executor: &mut E,
    clock: &mut C,
) -> Result<(), RunError> {
    for (run, step, attempt) in open_attempts(state, unwanted) {
        let asked = clock.steady_millis();
        executor.cancel(&attempt, false)?;
        let mut forced = false;
        while !matches!(executor.observe(&attempt)?, Observation::Exited(_) | Observation::Dead { .. }) {
            if !forced && clock.steady_millis() - asked > GRACE_MILLIS {
                executor.cancel(&attempt, true)?;
                forced = true;
            }
            executor.wait(50);
        }
        let outcome = AttemptOutcome::Cancelled;
        let token = attempt.token.clone();
        state.record(vec![Fact::AttemptEnded {
            run,
            step,
            token,
            outcome,
            peak_rss_bytes: 0,
            cpu_millis: 0,
        }])?;
    }
    Ok(())
}

/// Attempts without an end, as far as they are unwanted: run, step, attempt.
fn open_attempts(state: &State, unwanted: &dyn Fn(&str, &str) -> bool) -> Vec<(String, String, AttemptRef)> {
    let mut found: Vec<(String, String, AttemptRef)> = Vec::new();
    for run in state.projection().runs() {
        for step in run.steps.iter().filter(|step| unwanted(&run.id, &step.fingerprint)) {
            for attempt in state.projection().attempts(&step.fingerprint) {
                let known = found
                    .iter()
                    .any(|(_, _, other)| other.token == attempt.token && other.dir == attempt.dir);
                if attempt.ended_millis.is_none() && !known {
                    let attempt = AttemptRef { token: attempt.token.clone(), dir: attempt.dir.clone() };
                    found.push((run.id.clone(), step.name.clone(), attempt));
                }
            }
        }
    }
    found
}
