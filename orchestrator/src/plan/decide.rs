//! Decisions: which steps run, which are cached, and why. Pure: store contents and history are arguments.

use std::collections::BTreeMap;
use std::fmt;

use cupola_specs::spec::{Origin, ResolvedSpec};
use serde::Serialize;
use serde_json::Value;

use super::{Input, Plan, PlanError, PlannedStep, hashed_params};
use crate::state::Projection;

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

/// One reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// The artifact of this fingerprint is in the store.
    InStore {
        /// The run that made it.
        run: String,
    },
    /// No step of this name has ended under a spec of this name.
    NeverRan,
    /// It was begun with the same parameters and inputs and did not end.
    Unfinished {
        /// The run.
        run: String,
    },
    /// Its artifact was made and is no longer in the store.
    Gone,
    /// A parameter changed.
    Parameter {
        /// The field as the user knows it.
        field: String,
        /// Before; null where it was not there.
        old: Value,
        /// Now; null where it is gone.
        new: Value,
        /// Where it is written; none for a default.
        origin: Option<Origin>,
    },
    /// The seed changed.
    Seed {
        /// Before.
        old: u64,
        /// Now.
        new: u64,
    },
    /// The code behind this kind of step changed.
    CodeVersion {
        /// Before.
        old: u32,
        /// Now.
        new: u32,
    },
    /// An input is another one than before.
    Input {
        /// Its role.
        role: String,
        /// The step or folder that it is from.
        from: String,
    },
    /// An input is not read any more.
    InputRemoved {
        /// Its role.
        role: String,
    },
    /// Local files changed.
    Sources {
        /// Their label.
        label: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InStore { run } if run.is_empty() => write!(f, "in the store"),
            Self::InStore { run } => write!(f, "in the store, made by run {run}"),
            Self::NeverRan => write!(f, "never ran"),
            Self::Unfinished { run } => write!(f, "did not end in run {run}"),
            Self::Gone => write!(f, "its artifact is no longer in the store"),
            Self::Parameter { field, old, new, origin } => {
                write!(f, "{field} changed from {} to {}", short(old), short(new))?;
                origin.as_ref().map_or(Ok(()), |origin| write!(f, " ({}:{})", origin.file, origin.line))
            }
            Self::Seed { old, new } => write!(f, "seed changed from {old} to {new}"),
            Self::CodeVersion { old, new } => {
                write!(f, "the code of this step changed (version {old} to {new})")
            }
            Self::Input { role, from } => write!(f, "input {role} changed ({from})"),
            Self::InputRemoved { role } => write!(f, "input {role} is gone"),
            Self::Sources { label } => write!(f, "files of {label} changed"),
        }
    }
}

/// Decides for every step of the plan. `in_store` answers whether the artifact of a kind and fingerprint is there.
pub fn decide(
    plan: &Plan,
    spec: Option<&ResolvedSpec>,
    projection: &Projection,
    in_store: &dyn Fn(&str, &str) -> bool,
) -> Result<Vec<Decision>, PlanError> {
    plan.steps.iter().map(|planned| decide_step(plan, planned, spec, projection, in_store)).collect()
}

fn decide_step(
    plan: &Plan,
    planned: &PlannedStep,
    spec: Option<&ResolvedSpec>,
    projection: &Projection,
    in_store: &dyn Fn(&str, &str) -> bool,
) -> Result<Decision, PlanError> {
    let kind = planned.step.kind();
    let fingerprint = &planned.fingerprint;
    let committed = projection.artifacts().get(fingerprint);
    let (action, reasons) = if in_store(kind.artifact_kind(), fingerprint) {
        let run = committed.map(|artifact| artifact.run.clone()).unwrap_or_default();
        (Action::Cached, vec![Reason::InStore { run }])
    } else {
        let action = match projection.checkpoint(fingerprint) {
            Some(record) => Action::Resume { at_step: record.step },
            None => Action::Run,
        };
        let reasons = match (committed, unfinished_run(projection, fingerprint)) {
            (Some(_), _) => vec![Reason::Gone],
            (None, Some(run)) => vec![Reason::Unfinished { run }],
            (None, None) => changes(plan, planned, spec, projection)?,
        };
        (action, reasons)
    };
    Ok(Decision {
        step: planned.step.name.clone(),
        job: planned.step.job.clone(),
        kind: kind.as_str(),
        fingerprint: fingerprint.clone(),
        action,
        reasons,
    })
}

fn unfinished_run(projection: &Projection, fingerprint: &str) -> Option<String> {
    projection.attempts(fingerprint).last()?;
    let begun = |run: &&crate::state::RunRow| run.steps.iter().any(|step| step.fingerprint == fingerprint);
    projection.runs().iter().rev().find(begun).map(|run| run.id.clone())
}

/// What differs from the last time a step of this name ended.
fn changes(
    plan: &Plan,
    planned: &PlannedStep,
    spec: Option<&ResolvedSpec>,
    projection: &Projection,
) -> Result<Vec<Reason>, PlanError> {
    let Some(before) = projection.last_done(&plan.spec_name, &planned.step.name)? else {
        return Ok(vec![Reason::NeverRan]);
    };
    let mut reasons = Vec::new();
    let new_params = hashed_params(&planned.step.params)?;
    let mut differences = Vec::new();
    compare("", &before.params, &new_params, &mut differences);
    for (path, old, new) in differences {
        let (field, origin) = field_of(&planned.step.job, &path, spec);
        reasons.push(Reason::Parameter { field, old, new, origin });
    }
    if before.seed != planned.step.seed {
        reasons.push(Reason::Seed { old: before.seed, new: planned.step.seed });
    }
    let code_version = planned.step.kind().code_version();
    if before.code_version != code_version {
        reasons.push(Reason::CodeVersion { old: before.code_version, new: code_version });
    }
    for (role, hash) in &planned.inputs {
        if before.inputs.get(role) != Some(hash) {
            let from = match planned.step.inputs.get(role) {
                Some(Input::Step(name)) => name.clone(),
                Some(Input::Folder(path)) => path.display().to_string(),
                None => String::new(),
            };
            reasons.push(Reason::Input { role: role.clone(), from });
        }
    }
    let gone = before.inputs.keys().filter(|role| !planned.inputs.contains_key(*role));
    reasons.extend(gone.map(|role| Reason::InputRemoved { role: role.clone() }));
    reasons.extend(changed_sources(&before.sources, &planned.sources));
    if reasons.is_empty() {
        reasons.push(Reason::Gone);
    }
    Ok(reasons)
}

fn changed_sources(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<Reason> {
    let mut labels: Vec<&String> = now.keys().chain(before.keys()).collect();
    labels.sort();
    labels.dedup();
    labels.retain(|label| before.get(*label) != now.get(*label));
    labels.into_iter().map(|label| Reason::Sources { label: label.clone() }).collect()
}

/// Leaves that differ: dotted path, old value, new value.
pub fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<(String, Value, Value)>) {
    if old == new {
        return;
    }
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> =
                a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))).collect();
            keys.dedup();
            for key in keys {
                compare(
                    &join(key),
                    a.get(key).unwrap_or(&Value::Null),
                    b.get(key).unwrap_or(&Value::Null),
                    found,
                );
            }
        }
        (Value::Array(a), Value::Array(b))
            if a.len() == b.len() && a.iter().chain(b).all(Value::is_object) =>
        {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&join(&index.to_string()), a, b, found);
            }
        }
        _ => found.push((path.to_owned(), old.clone(), new.clone())),
    }
}

/// The spec's field behind a parameter: `jobs.base.tokens` for `tokens.tokens`, and where it is written.
fn field_of(job: &str, path: &str, spec: Option<&ResolvedSpec>) -> (String, Option<Origin>) {
    if job.is_empty() {
        return (path.to_owned(), None);
    }
    let (head, rest) = path.split_once('.').map_or((path, ""), |(head, rest)| (head, rest));
    let head = match head {
        "context_length" => "context.length",
        "domain_weights" => "domains.weights",
        "prompts_part" => "prompts",
        "data_parts" => "data",
        "shape" => "grid",
        "tokens_per_param" => "grid.tokens_per_param",
        "tokens" if rest.is_empty() => "grid.tokens",
        other => other,
    };
    let full =
        if rest.is_empty() { format!("jobs.{job}.{head}") } else { format!("jobs.{job}.{head}.{rest}") };
    let Some(spec) = spec else { return (full, None) };
    let job_path = format!("jobs.{job}");
    let mut written = full.as_str();
    while written.len() > job_path.len() && !spec.origins.contains_key(written) {
        written = written.rfind('.').map_or(written, |dot| &written[..dot]);
        if !written.contains('.') {
            break;
        }
    }
    match spec.origins.get(written) {
        Some(origin) if written.len() > job_path.len() => (written.to_owned(), Some(origin.clone())),
        _ => (full, None),
    }
}

/// A value in a few characters: large counts as people write them, long texts cut.
fn short(value: &Value) -> String {
    let count = value.as_u64().filter(|count| *count >= 100_000);
    if let Some(count) = count {
        for (unit, name) in [(1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k")] {
            let scaled = count as f64 / unit as f64;
            if count >= unit && (scaled * 100.0).fract() == 0.0 {
                return format!("{scaled}{name}");
            }
        }
    }
    let text = value.to_string();
    if text.chars().count() > 60 { format!("{}…", text.chars().take(59).collect::<String>()) } else { text }
}
