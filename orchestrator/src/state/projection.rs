//! The projection: every fact folded into what is true now. Replaying the journal gives the same projection, always.

use std::collections::BTreeMap;
use std::path::Path;

use cupola_specs::contract::CheckpointRecord;
use serde_json::Value;

use super::{
    ArtifactView, AttemptOutcome, AttemptView, CommittedArtifact, Fact, PlannedStep, Record, RunState,
    RunView, StateDir, StepMove, StepState, StepView,
};

/// What is true now.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    dir: StateDir,
    seq: u64,
    epoch: u64,
    runs: Vec<RunView>,
    planned: BTreeMap<String, BTreeMap<String, PlannedStep>>,
    attempts: BTreeMap<String, Vec<AttemptView>>,
    artifacts: BTreeMap<String, ArtifactView>,
    checkpoints: BTreeMap<String, CheckpointRecord>,
    notes: BTreeMap<String, BTreeMap<String, Value>>,
}

impl Projection {
    /// The projection of an empty journal.
    pub fn new(dir: &StateDir) -> Self {
        Self {
            dir: dir.clone(),
            seq: 0,
            epoch: 0,
            runs: Vec::new(),
            planned: BTreeMap::new(),
            attempts: BTreeMap::new(),
            artifacts: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            notes: BTreeMap::new(),
        }
    }

    /// The state folder that it speaks of.
    pub fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// The newest record that is folded in.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// How often an orchestrator took the lock.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Runs, oldest first. Their steps carry no curves: those are read from event files by [`super::load_run`].
    pub fn runs(&self) -> &[RunView] {
        &self.runs
    }

    /// A run by id.
    pub fn run(&self, id: &str) -> Option<&RunView> {
        self.runs.iter().rev().find(|run| run.id == id)
    }

    /// The newest run, of this spec name if one is given.
    pub fn latest_run(&self, spec_name: Option<&str>) -> Option<&RunView> {
        self.runs.iter().rev().find(|run| spec_name.is_none_or(|name| run.spec_name == name))
    }

    /// A step of a run as it was planned.
    pub fn planned_step(&self, run: &str, step: &str) -> Option<&PlannedStep> {
        self.planned.get(run)?.get(step)
    }

    /// The newest time that a step of this name was planned under a spec of this name and its artifact came to be.
    pub fn last_done(&self, spec_name: &str, step: &str) -> Option<&PlannedStep> {
        let done =
            |run: &&RunView| run.spec_name == spec_name && run.step(step).is_some_and(|s| s.state.is_done());
        let run = self.runs.iter().rev().find(done)?;
        self.planned_step(&run.id, step)
    }

    /// Attempts of a fingerprint, oldest first, whatever the run.
    pub fn attempts(&self, fingerprint: &str) -> &[AttemptView] {
        self.attempts.get(fingerprint).map_or(&[], Vec::as_slice)
    }

    /// The only token that may commit this fingerprint.
    pub fn newest_token(&self, fingerprint: &str) -> Option<&str> {
        self.attempts.get(fingerprint)?.last().map(|attempt| attempt.token.as_str())
    }

    /// Artifacts by fingerprint.
    pub fn artifacts(&self) -> &BTreeMap<String, ArtifactView> {
        &self.artifacts
    }

    /// The newest checkpoint of a fingerprint.
    pub fn checkpoint(&self, fingerprint: &str) -> Option<&CheckpointRecord> {
        self.checkpoints.get(fingerprint)
    }

    /// Notes of a topic by key.
    pub fn notes(&self, topic: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.notes.get(topic).into_iter().flatten()
    }

    /// The note of a topic and key.
    pub fn note(&self, topic: &str, key: &str) -> Option<&Value> {
        self.notes.get(topic)?.get(key)
    }

    /// Folds one record in.
    pub fn apply(&mut self, record: &Record) {
        let at = record.at_millis;
        self.seq = record.seq;
        match &record.fact {
            Fact::Opened { epoch, .. } => self.epoch = *epoch,
            Fact::RunCreated { run, spec_name, spec_path, plan_hash } => self.runs.push(RunView {
                id: run.clone(),
                spec_name: spec_name.clone(),
                spec_path: spec_path.clone(),
                plan_hash: plan_hash.clone(),
                state: RunState::Running,
                created_millis: at,
                ended_millis: None,
                steps: Vec::new(),
            }),
            Fact::StepPlanned(step) => self.plan_step(step),
            Fact::AttemptIntended { run, step, number, token, dir }
            | Fact::AttemptAdopted { run, step, number, token, dir } => {
                self.begin_attempt(run, step, new_attempt(*number, token, dir, at), at);
            }
            Fact::AttemptStarted { run, step, token, worker_pid } => {
                self.move_attempt(run, step, token, StepState::Running, |attempt| {
                    attempt.worker_pid = Some(*worker_pid);
                });
            }
            Fact::AttemptUnknown { run, step, token, .. } => {
                self.move_attempt(run, step, token, StepState::Unknown, |_| {});
            }
            Fact::AttemptEnded { run, step, token, outcome, peak_rss_bytes, cpu_millis } => {
                self.end_attempt(run, step, token, (outcome, *peak_rss_bytes, *cpu_millis), at);
            }
            Fact::CheckpointSaved { fingerprint, record } => {
                self.checkpoints.insert(fingerprint.clone(), record.clone());
            }
            Fact::CommitIntended { .. } => {}
            Fact::ArtifactCommitted(artifact) => self.commit(artifact, at),
            Fact::ArtifactDeleted { fingerprint } => {
                self.artifacts.remove(fingerprint);
            }
            Fact::StepMoved { run, step, to } => self.move_step(run, step, to, at),
            Fact::RunMoved { run, state } => self.move_run(run, *state, at),
            Fact::Noted { topic, key, value } => self.take_note(topic, key, value),
        }
    }

    fn step_mut(&mut self, run: &str, step: &str) -> Option<&mut StepView> {
        let run = self.runs.iter_mut().rev().find(|view| view.id == run)?;
        run.steps.iter_mut().find(|view| view.name == step)
    }

    fn plan_step(&mut self, planned: &PlannedStep) {
        let view = StepView {
            name: planned.name.clone(),
            job: planned.job.clone(),
            kind: planned.kind,
            state: if planned.cached { StepState::Cached } else { StepState::Waiting },
            fingerprint: planned.fingerprint.clone(),
            cached: planned.cached,
            reason: planned.reason.clone(),
            inputs: planned.inputs.clone(),
            needs: planned.needs.clone(),
            params: planned.params.clone(),
            seed: planned.seed,
            cores: planned.cores,
            started_millis: None,
            finished_millis: None,
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
            error: None,
        };
        if let Some(run) = self.runs.iter_mut().rev().find(|run| run.id == planned.run) {
            run.steps.push(view);
        }
        self.planned.entry(planned.run.clone()).or_default().insert(planned.name.clone(), planned.clone());
    }

    fn begin_attempt(&mut self, run: &str, step: &str, attempt: AttemptView, at: i64) {
        let Some(view) = self.step_mut(run, step) else { return };
        view.state = StepState::Submitted;
        view.started_millis.get_or_insert(at);
        view.finished_millis = None;
        view.error = None;
        let attempts = self.attempts.entry(view_fingerprint(&self.runs, run, step)).or_default();
        match attempts.iter_mut().find(|known| known.token == attempt.token) {
            Some(known) => known.dir = attempt.dir,
            None => attempts.push(attempt),
        }
    }

    fn move_attempt(
        &mut self,
        run: &str,
        step: &str,
        token: &str,
        state: StepState,
        change: impl FnOnce(&mut AttemptView),
    ) {
        let Some(view) = self.step_mut(run, step) else { return };
        view.state = state;
        let fingerprint = view.fingerprint.clone();
        if let Some(attempt) = self
            .attempts
            .get_mut(&fingerprint)
            .and_then(|all| all.iter_mut().find(|known| known.token == token))
        {
            change(attempt);
        }
    }

    fn end_attempt(&mut self, run: &str, step: &str, token: &str, end: (&AttemptOutcome, u64, u64), at: i64) {
        let (outcome, peak_rss_bytes, cpu_millis) = end;
        self.move_attempt(run, step, token, StepState::Submitted, |attempt| {
            attempt.ended_millis = Some(at);
            outcome.as_str().clone_into(&mut attempt.outcome);
            attempt.error = outcome.failure();
            attempt.peak_rss_bytes = peak_rss_bytes;
            attempt.cpu_millis = cpu_millis;
        });
        if let Some(view) = self.step_mut(run, step) {
            view.error = outcome.failure();
            if *outcome == AttemptOutcome::Cancelled {
                view.state = StepState::Waiting;
            }
        }
    }

    fn commit(&mut self, artifact: &CommittedArtifact, at: i64) {
        if let Some(view) = self.step_mut(&artifact.run, &artifact.step) {
            view.state = StepState::Succeeded;
            view.finished_millis = Some(at);
            view.error = None;
        }
        let view = ArtifactView {
            fingerprint: artifact.fingerprint.clone(),
            kind: artifact.kind.clone(),
            step: artifact.step.clone(),
            run: artifact.run.clone(),
            path: self.dir.root().join(&artifact.path),
            size_bytes: artifact.size_bytes,
            created_millis: at,
            summary: artifact.summary.clone(),
        };
        self.artifacts.insert(artifact.fingerprint.clone(), view);
        self.checkpoints.remove(&artifact.fingerprint);
    }

    fn move_step(&mut self, run: &str, step: &str, to: &StepMove, at: i64) {
        let Some(view) = self.step_mut(run, step) else { return };
        match to {
            StepMove::Waiting => {
                view.state = StepState::Waiting;
                view.finished_millis = None;
                view.error = None;
            }
            StepMove::Cached => {
                view.state = StepState::Cached;
                view.cached = true;
            }
            StepMove::Backoff { .. } => view.state = StepState::Backoff,
            StepMove::Failed { failure } => {
                view.state = StepState::Failed;
                view.error = Some(failure.clone());
                view.finished_millis = Some(at);
            }
            StepMove::Blocked { by } => {
                view.state = StepState::Blocked;
                view.reason = format!("blocked by {by}");
            }
            StepMove::Cancelled => {
                view.state = StepState::Cancelled;
                view.finished_millis = Some(at);
            }
        }
    }

    fn move_run(&mut self, run: &str, state: RunState, at: i64) {
        if let Some(view) = self.runs.iter_mut().rev().find(|view| view.id == run) {
            view.state = state;
            view.ended_millis = (state.is_final() || state == RunState::Interrupted).then_some(at);
        }
    }

    fn take_note(&mut self, topic: &str, key: &str, value: &Value) {
        let notes = self.notes.entry(topic.to_owned()).or_default();
        if value.is_null() {
            notes.remove(key);
        } else {
            notes.insert(key.to_owned(), value.clone());
        }
    }
}

fn view_fingerprint(runs: &[RunView], run: &str, step: &str) -> String {
    let view = runs.iter().rev().find(|view| view.id == run).and_then(|view| view.step(step));
    view.map(|view| view.fingerprint.clone()).unwrap_or_default()
}

fn new_attempt(number: u32, token: &str, dir: &Path, at: i64) -> AttemptView {
    AttemptView {
        number,
        token: token.to_owned(),
        dir: dir.to_path_buf(),
        submitted_millis: at,
        ended_millis: None,
        worker_pid: None,
        outcome: String::new(),
        error: None,
        peak_rss_bytes: 0,
        cpu_millis: 0,
    }
}
