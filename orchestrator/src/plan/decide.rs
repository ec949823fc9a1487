//! Decisions: which steps run, which are cached, and why. Pure: store contents and history are arguments.

use std::collections::{BTreeMap, HashMap};

use cupola_specs::contract::ErrorClass;
use cupola_specs::spec::ResolvedSpec;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;

use super::fields::{BUDGET_PARAM, Field, Fields};
use super::{Input, Plan, PlanError, PlannedStep, Reason, compare, hashed_params};
use crate::state::{PlannedStep as Before, Projection, RunRow, StepRow, StepState};

/// What happens to a step, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// The step's name.
    pub step: String,
    /// The job that it belongs to; empty for a shared one.
    pub job: String,
    /// Its kind.
    pub kind: &'static str,
    /// Its fingerprint.
    pub fingerprint: String,
    /// `cached`, `run` or `resume`.
    pub action: Action,
    /// Why; never empty.
    pub reasons: Vec<Reason>,
}

impl Decision {
    /// The reasons in one line.
    pub fn why(&self) -> String {
        let lines: Vec<String> = self.reasons.iter().map(ToString::to_string).collect();
        lines.join("; ")
    }
}

/// What happens to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Its artifact is in the store.
    Cached,
    /// It runs from its start.
    Run,
    /// It goes on at a checkpoint.
    Resume {
        /// The checkpoint's optimiser step.
        at_step: u64,
    },
}

/// Decides for every step of the plan. `in_store` answers whether the artifact of a kind and fingerprint is there.
pub fn decide(
    plan: &Plan,
    spec: Option<&ResolvedSpec>,
    projection: &Projection,
    in_store: &(dyn Fn(&str, &str) -> bool + Sync),
) -> Result<Vec<Decision>, PlanError> {
    let is_there =
        |planned: &PlannedStep| in_store(planned.step.kind().artifact_kind(), &planned.fingerprint);
    let cached: Vec<bool> = plan.steps.par_iter().with_min_len(64).map(is_there).collect();
    let history = History::new(plan, projection, &cached)?;
    let fields = Fields::new(spec);
    let mut decisions = Vec::with_capacity(plan.steps.len());
    for (at, planned) in plan.steps.iter().enumerate() {
        let (action, reasons) = if cached[at] {
            let made = projection.artifacts().get(&planned.fingerprint);
            (
                Action::Cached,
                vec![Reason::InStore { run: made.map(|made| made.run.clone()).unwrap_or_default() }],
            )
        } else {
            let action = match projection.checkpoint(&planned.fingerprint) {
                Some(record) => Action::Resume { at_step: record.step },
                None => Action::Run,
            };
            (action, history.reasons(at, planned, &fields)?)
        };
        decisions.push(Decision {
            step: planned.step.name.clone(),
            job: planned.step.job.clone(),
            kind: planned.step.kind().as_str(),
            fingerprint: planned.fingerprint.clone(),
            action,
            reasons,
        });
    }
    Ok(decisions)
}

/// What is known of the steps of a plan from before.
struct History<'p> {
    projection: &'p Projection,
    /// The newest run that holds a step of a fingerprint, and that step.
    begun: HashMap<&'p str, (&'p RunRow, &'p StepRow)>,
    /// The last time that a step of this name ended: by place in the plan.
    last: HashMap<usize, (&'p RunRow, Before)>,
}

impl<'p> History<'p> {
    /// Looks up what the steps that are not cached need. What lies in the journal is read in its order there.
    fn new(plan: &Plan, projection: &'p Projection, cached: &[bool]) -> Result<Self, PlanError> {
        let mut history = Self { projection, begun: HashMap::new(), last: HashMap::new() };
        let open: Vec<(usize, &PlannedStep)> =
            plan.steps.iter().enumerate().filter(|(at, _)| !cached[*at]).collect();
        if open.iter().any(|(_, planned)| !projection.attempts(&planned.fingerprint).is_empty()) {
            for run in projection.runs() {
                history.begun.extend(run.steps.iter().map(|step| (step.fingerprint.as_str(), (run, step))));
            }
        }
        let runs: Vec<&RunRow> =
            projection.runs().iter().rev().filter(|run| run.spec_name == plan.spec_name).collect();
        let mut wanted = Vec::new();
        for (at, planned) in open {
            if history.begun(planned).is_some() || projection.artifacts().contains_key(&planned.fingerprint) {
                continue;
            }
            let place = |run: &&RunRow| {
                let place = run.position(&planned.step.name)?;
                run.steps.get(place)?.state.is_done().then_some(place)
            };
            if let Some((age, place)) =
                runs.iter().enumerate().find_map(|(age, run)| Some((age, place(run)?)))
            {
                wanted.push((age, place, at));
            }
        }
        wanted.sort_unstable();
        for (age, _, at) in wanted {
            if let Some(before) = projection.planned_step(&runs[age].id, &plan.steps[at].step.name)? {
                history.last.insert(at, (runs[age], before));
            }
        }
        Ok(history)
    }

    /// The run in which a step of this fingerprint was begun, and how it stands there.
    fn begun(&self, planned: &PlannedStep) -> Option<(&'p RunRow, &'p StepRow)> {
        self.projection.attempts(&planned.fingerprint).last()?;
        self.begun.get(planned.fingerprint.as_str()).copied()
    }

    fn reasons(
        &self,
        at: usize,
        planned: &PlannedStep,
        fields: &Fields<'_>,
    ) -> Result<Vec<Reason>, PlanError> {
        if self.projection.artifacts().contains_key(&planned.fingerprint) {
            return Ok(vec![Reason::Gone]);
        }
        if let Some((run, step)) = self.begun(planned) {
            return Ok(vec![unfinished(run, step)]);
        }
        match self.last.get(&at) {
            Some((run, before)) => {
                changes(planned, planned.step.kind().code_version(), (run, before), fields)
            }
            None => Ok(vec![Reason::NeverRan]),
        }
    }
}

/// How a step that was begun and did not end stands.
fn unfinished(run: &RunRow, step: &StepRow) -> Reason {
    let failure = (step.state == StepState::Failed).then_some(step.error.as_deref()).flatten();
    match failure.filter(|failure| failure.class != ErrorClass::Transient) {
        Some(failure) => Reason::Failed {
            run: run.id.clone(),
            code: failure.code.clone(),
            message: failure.message.clone(),
        },
        None => Reason::Unfinished { run: run.id.clone() },
    }
}

/// What differs from the last time a step of this name ended.
pub(super) fn changes(
    planned: &PlannedStep,
    code_version: u32,
    (run, before): (&RunRow, &Before),
    fields: &Fields<'_>,
) -> Result<Vec<Reason>, PlanError> {
    let mut changes = Changes { reasons: Vec::new(), told: Vec::new() };
    let mut differences = Vec::new();
    compare("", &before.params, &hashed_params(&planned.step.params)?, &mut differences);
    let mut parameters: Vec<(Vec<String>, Value, Value)> = differences
        .into_iter()
        .map(|(path, old, new)| {
            let [old, new] = [old, new].map(|value| as_written(&path, value));
            (fields.parameter(&planned.step, &path), old, new)
        })
        .collect();
    // What a field says by itself comes first: what only follows from it is not told.
    parameters.sort_by_key(|(paths, ..)| !fields.is_written(&paths[0]));
    for (paths, old, new) in parameters {
        if !paths.iter().skip(1).any(|path| changes.told.contains(path)) {
            changes.field(fields.first_written(paths), old, new);
        }
    }
    if before.seed != planned.step.seed {
        changes.field(fields.seed(&planned.step), before.seed.into(), planned.step.seed.into());
    }
    if before.code_version != code_version {
        changes.reasons.push(Reason::CodeVersion { old: before.code_version, new: code_version });
    }
    changes.inputs(planned, (run, before), fields);
    let gone = before.inputs.keys().filter(|role| !planned.inputs.contains_key(*role));
    changes.reasons.extend(gone.map(|role| Reason::InputRemoved { role: role.clone() }));
    for label in changed_labels(&before.sources, &planned.sources) {
        let origin = fields.sources(&planned.step, &label).origin;
        changes.reasons.push(Reason::Sources { label, origin });
    }
    if changes.reasons.is_empty() {
        changes.reasons.push(Reason::Gone);
    }
    Ok(changes.reasons)
}

/// Reasons so far, each field once.
struct Changes {
    reasons: Vec<Reason>,
    told: Vec<String>,
}

impl Changes {
    /// What a step reads that is another one, or was made by another step.
    fn inputs(&mut self, planned: &PlannedStep, (run, before): (&RunRow, &Before), fields: &Fields<'_>) {
        for (role, hash) in
            planned.inputs.iter().filter(|(role, hash)| before.inputs.get(*role) != Some(*hash))
        {
            let from = match planned.step.inputs.get(role) {
                Some(Input::Step(name)) => name.clone(),
                Some(Input::Folder(path)) => path.display().to_string(),
                None => hash.clone(),
            };
            let old = before.inputs.get(role).map(|hash| step_before(run, before, hash));
            match old {
                None => self.field(fields.input(&planned.step, role), Value::Null, from.into()),
                Some(Some(old)) if old != from && !planned.step.job.is_empty() => {
                    match parts(role, &old, &from) {
                        Some(parts) => parts.into_iter().for_each(|(field, old, new)| {
                            let field = match field {
                                "corpus" => fields.input(&planned.step, role),
                                _ => fields.of_job(&planned.step, field),
                            };
                            self.field(field, old.into(), new.into());
                        }),
                        None => self.field(fields.input(&planned.step, role), old.into(), from.into()),
                    }
                }
                Some(_) => {
                    let is_folder = matches!(planned.step.inputs.get(role), Some(Input::Folder(_)));
                    let origin = is_folder.then(|| fields.input(&planned.step, role).origin).flatten();
                    self.reasons.push(Reason::Input { role: role.clone(), from, origin });
                }
            }
        }
    }

    fn field(&mut self, field: Field, old: Value, new: Value) {
        let holds = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let covers = |told: &String| holds(told, &field.path) || holds(&field.path, told);
        if !self.told.iter().any(covers) {
            self.told.push(field.path.clone());
            self.reasons.push(Reason::Parameter { field: field.path, old, new, origin: field.origin });
        }
    }
}

/// A parameter's value as the field behind it has it.
fn as_written(path: &str, value: Value) -> Value {
    match (value.as_f64(), value.as_u64()) {
        (Some(seconds), _) if path == BUDGET_PARAM => (seconds / 3600.0).into(),
        (_, Some(number)) if path.starts_with("phases.") && path.rsplit('.').next() == Some("input") => {
            format!("tokens.{number}").into()
        }
        _ => value,
    }
}

/// The fields of a job that are in the name of a step made for them, where they differ: `tokens[corpus,vocab]`,
/// `law/sweep[transformer,2]`.
fn parts(role: &str, old: &str, new: &str) -> Option<Vec<(&'static str, String, String)>> {
    let names = match role.split('.').next() {
        Some("tokens") => ["corpus", "tokenizer"],
        Some("sweep") => ["families", "grid.depths"],
        _ => return None,
    };
    let both = |name: &str| {
        let inner = name.split_once('[')?.1.strip_suffix(']')?;
        let (first, second) = inner.split_once(',')?;
        (!second.contains(',')).then(|| [first.to_owned(), second.to_owned()])
    };
    let differ = names.into_iter().zip(both(old)?.into_iter().zip(both(new)?));
    Some(differ.filter(|(_, (old, new))| old != new).map(|(name, (old, new))| (name, old, new)).collect())
}

/// The step whose artifact an input was.
fn step_before(run: &RunRow, before: &Before, fingerprint: &str) -> Option<String> {
    let is_it = |name: &&String| run.step(name).is_some_and(|step| step.fingerprint == fingerprint);
    before.needs.iter().find(is_it).cloned()
}

fn changed_labels(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let mut labels: Vec<&String> = now.keys().chain(before.keys()).collect();
    labels.sort();
    labels.dedup();
    labels.retain(|label| before.get(*label) != now.get(*label));
    labels.into_iter().cloned().collect()
}
