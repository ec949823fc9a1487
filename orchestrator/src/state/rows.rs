//! Runs and steps as the projection holds them: what changes while a run goes on, and nothing that only a description needs.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::OnceLock;

use cupola_specs::contract::Failure;
use cupola_specs::job::StepKind;
use serde::{Deserialize, Serialize};

use super::{PlannedStep, RunState, StepState};

/// A run without what its event files say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunRow {
    /// The run's id: the spec's name and a number.
    pub id: String,
    /// The spec's name.
    pub spec_name: String,
    /// The spec's file, absolute.
    pub spec_path: PathBuf,
    /// blake3 over the names and fingerprints of the steps.
    pub plan_hash: String,
    /// How it stands.
    pub state: RunState,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_millis: i64,
    /// When it ended.
    pub ended_millis: Option<i64>,
    /// Steps in topological order.
    pub steps: Vec<StepRow>,
    /// The first step of each record of the plan, and where that record starts in the journal.
    pub(super) plan_records: Vec<(u32, u64)>,
    #[serde(skip)]
    index: OnceLock<HashMap<String, u32>>,
}

impl PartialEq for RunRow {
    fn eq(&self, other: &Self) -> bool {
        let key = |run: &Self| {
            let facts = (run.id.clone(), run.spec_name.clone(), run.spec_path.clone(), run.plan_hash.clone());
            (facts, run.state, run.created_millis, run.ended_millis, run.plan_records.clone())
        };
        key(self) == key(other) && self.steps == other.steps
    }
}

impl RunRow {
    /// A run that was made just now.
    pub(super) fn new(
        id: &str,
        spec_name: &str,
        spec_path: PathBuf,
        plan_hash: &str,
        created_millis: i64,
    ) -> Self {
        Self {
            id: id.to_owned(),
            spec_name: spec_name.to_owned(),
            spec_path,
            plan_hash: plan_hash.to_owned(),
            state: RunState::Running,
            created_millis,
            ended_millis: None,
            steps: Vec::new(),
            plan_records: Vec::new(),
            index: OnceLock::new(),
        }
    }

    /// The step of this name.
    pub fn step(&self, name: &str) -> Option<&StepRow> {
        self.steps.get(self.position(name)?)
    }

    /// Where the step of this name stands.
    pub fn position(&self, name: &str) -> Option<usize> {
        let index = self.index.get_or_init(|| {
            self.steps.iter().enumerate().map(|(at, step)| (step.name.clone(), at as u32)).collect()
        });
        index.get(name).map(|at| *at as usize)
    }

    /// How many steps are in each state.
    pub fn counts(&self) -> BTreeMap<StepState, usize> {
        let mut counts = BTreeMap::new();
        for step in &self.steps {
            *counts.entry(step.state).or_insert(0) += 1;
        }
        counts
    }

    /// Adds the steps of one record of the plan.
    pub(super) fn plan(&mut self, steps: &[PlannedStep], offset: u64) {
        self.plan_records.push((self.steps.len() as u32, offset));
        self.steps.extend(steps.iter().map(StepRow::new));
        self.index = OnceLock::new();
    }

    pub(super) fn step_mut(&mut self, name: &str) -> Option<&mut StepRow> {
        let at = self.position(name)?;
        self.steps.get_mut(at)
    }
}

/// A step of a run without what only a description needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    /// The step's name in plans.
    pub name: String,
    /// The job that it is lowered from; empty for shared steps.
    pub job: String,
    /// Its kind.
    pub kind: StepKind,
    /// How it stands.
    pub state: StepState,
    /// Its fingerprint, 64 hex digits.
    pub fingerprint: String,
    /// Whether its artifact was in the store before the run.
    pub cached: bool,
    /// Why it ran, or why it did not have to.
    pub reason: String,
    /// Core slots that it takes.
    pub cores: u32,
    /// When its first attempt started, milliseconds since the Unix epoch.
    pub started_millis: Option<i64>,
    /// When its artifact was committed or it ended.
    pub finished_millis: Option<i64>,
    /// Why it failed.
    pub error: Option<Box<Failure>>,
}

impl StepRow {
    fn new(planned: &PlannedStep) -> Self {
        Self {
            name: planned.name.clone(),
            job: planned.job.clone(),
            kind: planned.kind,
            state: if planned.cached { StepState::Cached } else { StepState::Waiting },
            fingerprint: planned.fingerprint.clone(),
            cached: planned.cached,
            reason: planned.reason.clone(),
            cores: planned.cores,
            started_millis: None,
            finished_millis: None,
            error: None,
        }
    }

    /// Wall-clock milliseconds from the first start to the end, or to `now_millis` while it runs.
    pub fn wall_millis(&self, now_millis: i64) -> Option<i64> {
        self.started_millis
            .map(|start| self.finished_millis.unwrap_or(now_millis).saturating_sub(start).max(0))
    }
}
