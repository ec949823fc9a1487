//! The read model: what commands, pages and reports show of runs, steps and artifacts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cupola_specs::contract::{CheckpointRecord, Failure};
use cupola_specs::job::StepKind;
use serde::{Deserialize, Serialize};

use super::{Expected, MetricSeries, PlannedStep, RunRow, StepRow, WantedRoom};

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It has steps to run; whether a process drives it now says [`super::lock::holder`].
    Running,
    /// Nothing new starts until it is resumed.
    Paused,
    /// Every step is done.
    Succeeded,
    /// A step failed for good.
    Failed,
    /// A user cancelled it.
    Cancelled,
    /// It was stopped before its end; another `apply` goes on where it was.
    Interrupted,
}

impl RunState {
    /// Whether nothing more will happen in the run.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The state's name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It waits for its inputs or for a slot.
    Waiting,
    /// Its artifact was in the store before the run.
    Cached,
    /// An attempt was handed to the executor.
    Submitted,
    /// A worker runs it.
    Running,
    /// Its worker can't be seen: neither running nor failed until that is proven.
    Unknown,
    /// It waits for its next attempt.
    Backoff,
    /// Its artifact is in the store.
    Succeeded,
    /// Its last attempt failed and there will be no other.
    Failed,
    /// A step that it needs failed or was cancelled.
    Blocked,
    /// A user cancelled it.
    Cancelled,
}

impl StepState {
    /// Whether nothing more will happen to the step in its run.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Cached | Self::Succeeded | Self::Failed | Self::Blocked | Self::Cancelled)
    }

    /// Whether its artifact is there.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Cached | Self::Succeeded)
    }

    /// Whether an attempt of it may be alive.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Submitted | Self::Running | Self::Unknown)
    }

    /// The state's name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Cached => "cached",
            Self::Submitted => "submitted",
            Self::Running => "running",
            Self::Unknown => "unknown",
            Self::Backoff => "backoff",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A run with its steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunView {
    /// The run's id: the spec's name and a number.
    pub id: String,
    /// The spec's name.
    pub spec_name: String,
    /// The spec's file, absolute.
    #[schema(value_type = String)]
    pub spec_path: PathBuf,
    /// blake3 over the names and fingerprints of the steps.
    pub plan_hash: String,
    /// How it stands.
    pub state: RunState,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_millis: i64,
    /// When it ended.
    pub ended_millis: Option<i64>,
    /// What a paused run waits for, where it goes on by itself.
    pub waits_for: Option<WantedRoom>,
    /// Steps in topological order.
    pub steps: Vec<StepView>,
}

impl RunView {
    /// What the projection has of a run.
    pub fn of(row: &RunRow) -> Self {
        Self { steps: row.steps.iter().map(StepView::of).collect(), ..Self::of_run(row) }
    }

    /// The same without its steps.
    pub fn of_run(row: &RunRow) -> Self {
        Self {
            id: row.id.clone(),
            spec_name: row.spec_name.clone(),
            spec_path: row.spec_path.clone(),
            plan_hash: row.plan_hash.clone(),
            state: row.state,
            created_millis: row.created_millis,
            ended_millis: row.ended_millis,
            waits_for: None,
            steps: Vec::new(),
        }
    }

    /// The step of this name.
    pub fn step(&self, name: &str) -> Option<&StepView> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// How many steps are in each state.
    pub fn counts(&self) -> BTreeMap<StepState, usize> {
        let mut counts = BTreeMap::new();
        for step in &self.steps {
            *counts.entry(step.state).or_insert(0) += 1;
        }
        counts
    }
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StepView {
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
    /// Input roles with the fingerprint of each.
    pub inputs: BTreeMap<String, String>,
    /// Names of the steps that it waits for.
    pub needs: Vec<String>,
    /// Resolved parameters, as JSON.
    #[schema(value_type = Object)]
    pub params: serde_json::Value,
    /// Its seed.
    pub seed: u64,
    /// Core slots that it takes.
    pub cores: u32,
    /// What the plan expected it to take.
    pub expected: Expected,
    /// When its first attempt started, milliseconds since the Unix epoch. For a cached step: of the run that made it.
    pub started_millis: Option<i64>,
    /// When its artifact was committed or it ended.
    pub finished_millis: Option<i64>,
    /// Its attempts in order; for a cached step those of the run that made it.
    pub attempts: Vec<AttemptView>,
    /// How far the newest attempt is.
    pub progress: Option<ProgressView>,
    /// Curves by metric, over all attempts.
    pub metrics: BTreeMap<String, MetricSeries>,
    /// Texts that the model wrote, newest last.
    pub samples: Vec<SampleView>,
    /// Warnings: code and message.
    pub warnings: Vec<(String, String)>,
    /// The newest checkpoint.
    pub checkpoint: Option<CheckpointRecord>,
    /// Peak resident memory over all attempts, bytes.
    pub peak_rss_bytes: u64,
    /// User and system time over all attempts, milliseconds.
    pub cpu_millis: u64,
    /// The artifact's folder, where it is committed.
    #[schema(value_type = Option<String>)]
    pub artifact: Option<PathBuf>,
    /// The run that made the artifact.
    pub made_by: Option<String>,
    /// The step's own facts from its `finished` event.
    #[schema(value_type = Object)]
    pub summary: serde_json::Map<String, serde_json::Value>,
    /// Why it failed.
    pub error: Option<Failure>,
}

impl StepView {
    /// What the projection has of a step.
    pub fn of(row: &StepRow) -> Self {
        Self {
            name: row.name.clone(),
            job: row.job.clone(),
            kind: row.kind,
            state: row.state,
            fingerprint: row.fingerprint.clone(),
            cached: row.cached,
            reason: row.reason.clone(),
            inputs: BTreeMap::new(),
            needs: Vec::new(),
            params: serde_json::Value::Null,
            seed: 0,
            cores: row.cores,
            expected: Expected::default(),
            started_millis: row.started_millis,
            finished_millis: row.finished_millis,
            attempts: Vec::new(),
            progress: None,
            metrics: BTreeMap::new(),
            samples: Vec::new(),
            warnings: Vec::new(),
            checkpoint: None,
            peak_rss_bytes: 0,
            cpu_millis: 0,
            artifact: None,
            made_by: None,
            summary: serde_json::Map::new(),
            error: row.error.as_deref().cloned(),
        }
    }

    /// Takes what changes while the run goes on.
    pub fn update(&mut self, row: &StepRow) {
        self.state = row.state;
        self.cached = row.cached;
        self.reason.clone_from(&row.reason);
        self.started_millis = row.started_millis;
        self.finished_millis = row.finished_millis;
        self.error = row.error.as_deref().cloned();
    }

    /// Adds what the plan says.
    pub(super) fn plan(&mut self, planned: PlannedStep) {
        self.inputs = planned.inputs;
        self.needs = planned.needs;
        self.params = planned.params;
        self.seed = planned.seed;
        self.expected = planned.expected;
    }

    /// Wall-clock milliseconds from the first start to the end, or to `now_millis` while it runs.
    pub fn wall_millis(&self, now_millis: i64) -> Option<i64> {
        self.started_millis
            .map(|start| self.finished_millis.unwrap_or(now_millis).saturating_sub(start).max(0))
    }
}

/// One try of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AttemptView {
    /// 1, 2, …
    pub number: u32,
    /// `epoch.attempt`: only the newest may commit.
    pub token: String,
    /// Its folder.
    #[schema(value_type = String)]
    pub dir: PathBuf,
    /// When it was handed to the executor, milliseconds since the Unix epoch.
    pub submitted_millis: i64,
    /// When it ended.
    pub ended_millis: Option<i64>,
    /// The worker's process id.
    pub worker_pid: Option<u32>,
    /// How it ended: `succeeded`, `failed`, `lost`, `cancelled`; empty while it may run.
    pub outcome: String,
    /// Why it failed.
    pub error: Option<Failure>,
    /// Peak resident memory, bytes.
    pub peak_rss_bytes: u64,
    /// User and system time, milliseconds.
    pub cpu_millis: u64,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProgressView {
    /// Units done.
    pub done: f64,
    /// Units in all.
    pub total: f64,
    /// The unit.
    pub unit: String,
    /// What the step is doing.
    pub stage: String,
    /// When that was said, milliseconds since the Unix epoch.
    pub at_millis: i64,
    /// Units a second over the last half minute of the attempt; 0 before there are two reports.
    pub rate: f64,
}

/// A text that the model wrote while it trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SampleView {
    /// Optimiser step.
    pub step: u64,
    /// What it was given.
    pub prompt: String,
    /// What it wrote.
    pub text: String,
}

/// An artifact of the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtifactView {
    /// Its fingerprint.
    pub fingerprint: String,
    /// Its kind, the folder in the store.
    pub kind: String,
    /// The step that made it.
    pub step: String,
    /// The run that made it.
    pub run: String,
    /// Its folder.
    pub path: PathBuf,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// When it was committed, milliseconds since the Unix epoch.
    pub created_millis: i64,
    /// The step's own facts.
    #[serde(with = "super::json_text")]
    pub summary: serde_json::Map<String, serde_json::Value>,
}
