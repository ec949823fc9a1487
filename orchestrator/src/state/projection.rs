//! The projection: every fact folded into what is true now. Replaying the journal gives the same projection, always.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cupola_specs::contract::CheckpointRecord;
use serde_json::Value;

use super::journal::read_record_at;
use super::{
    ArtifactView, AttemptOutcome, AttemptView, CommittedArtifact, Fact, FolderId, PlannedStep, Record,
    RunRow, RunState, StateDir, StateError, StepMove, StepRow, StepState,
};

/// What is true now.
#[derive(Debug)]
pub struct Projection {
    dir: StateDir,
    facts: Facts,
    /// The record of a plan that was read last, with where it starts.
    plan_record: Mutex<Option<(u64, Vec<PlannedStep>)>>,
}

/// All that the journal's facts add up to.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Facts {
    pub(super) seq: u64,
    pub(super) epoch: u64,
    pub(super) folder: FolderId,
    pub(super) runs: Vec<RunRow>,
    pub(super) attempts: BTreeMap<String, Vec<AttemptView>>,
    pub(super) artifacts: BTreeMap<String, ArtifactView>,
    pub(super) checkpoints: BTreeMap<String, CheckpointRecord>,
    pub(super) notes: BTreeMap<String, BTreeMap<String, Value>>,
}

impl Clone for Projection {
    fn clone(&self) -> Self {
        Self::from_facts(&self.dir, self.facts.clone())
    }
}

impl PartialEq for Projection {
    fn eq(&self, other: &Self) -> bool {
        self.dir == other.dir && self.facts == other.facts
    }
}

impl Projection {
    /// The projection of an empty journal.
    pub fn new(dir: &StateDir) -> Self {
        Self::from_facts(dir, Facts::default())
    }

    /// The projection that a snapshot holds.
    pub(super) fn from_facts(dir: &StateDir, facts: Facts) -> Self {
        Self { dir: dir.clone(), facts, plan_record: Mutex::new(None) }
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The state folder that it speaks of.
    pub fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// The newest record that is folded in.
    pub fn seq(&self) -> u64 {
        self.facts.seq
    }

    /// How often an orchestrator took the lock.
    pub fn epoch(&self) -> u64 {
        self.facts.epoch
    }

    /// The folder that the newest orchestrator opened.
    pub fn folder(&self) -> &FolderId {
        &self.facts.folder
    }

    /// Runs, oldest first. Everything else about their steps gives [`super::load_run`].
    pub fn runs(&self) -> &[RunRow] {
        &self.facts.runs
    }

    /// A run by id.
    pub fn run(&self, id: &str) -> Option<&RunRow> {
        self.facts.runs.iter().rev().find(|run| run.id == id)
    }

    /// The newest run, of this spec name if one is given.
    pub fn latest_run(&self, spec_name: Option<&str>) -> Option<&RunRow> {
        self.facts.runs.iter().rev().find(|run| spec_name.is_none_or(|name| run.spec_name == name))
    }

    /// A step of a run as it was planned, read from the journal.
    pub fn planned_step(&self, run: &str, step: &str) -> Result<Option<PlannedStep>, StateError> {
        let Some(row) = self.run(run) else { return Ok(None) };
        let Some(at) = row.position(step) else { return Ok(None) };
        let record = row.plan_records.partition_point(|(first, _)| *first as usize <= at).checked_sub(1);
        let Some((first, offset)) = record.and_then(|record| row.plan_records.get(record)).copied() else {
            return Ok(None);
        };
        let mut known = self.plan_record.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if known.as_ref().is_none_or(|(of, _)| *of != offset)
            && let Fact::StepsPlanned { steps, .. } = read_record_at(&self.dir.journal(), offset)?.fact
        {
            *known = Some((offset, steps));
        }
        let steps = known.as_ref().filter(|(of, _)| *of == offset).map(|(_, steps)| steps);
        Ok(steps.and_then(|steps| steps.get(at - first as usize)).cloned())
    }

    /// The newest time that a step of this name was planned under a spec of this name and its artifact came to be.
    pub fn last_done(&self, spec_name: &str, step: &str) -> Result<Option<PlannedStep>, StateError> {
        let done =
            |run: &&RunRow| run.spec_name == spec_name && run.step(step).is_some_and(|s| s.state.is_done());
        match self.facts.runs.iter().rev().find(done) {
            Some(run) => self.planned_step(&run.id, step),
            None => Ok(None),
        }
    }

    /// Attempts of a fingerprint, oldest first, whatever the run.
    pub fn attempts(&self, fingerprint: &str) -> &[AttemptView] {
        self.facts.attempts.get(fingerprint).map_or(&[], Vec::as_slice)
    }

    /// The only token that may commit this fingerprint.
    pub fn newest_token(&self, fingerprint: &str) -> Option<&str> {
        self.facts.attempts.get(fingerprint)?.last().map(|attempt| attempt.token.as_str())
    }

    /// Artifacts by fingerprint.
    pub fn artifacts(&self) -> &BTreeMap<String, ArtifactView> {
        &self.facts.artifacts
    }

    /// The newest checkpoint of a fingerprint.
    pub fn checkpoint(&self, fingerprint: &str) -> Option<&CheckpointRecord> {
        self.facts.checkpoints.get(fingerprint)
    }

    /// Notes of a topic by key.
    pub fn notes(&self, topic: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.facts.notes.get(topic).into_iter().flatten()
    }

    /// The note of a topic and key.
    pub fn note(&self, topic: &str, key: &str) -> Option<&Value> {
        self.facts.notes.get(topic)?.get(key)
    }

    /// Folds one record in.
    pub fn apply(&mut self, record: &Record) {
        let root = self.dir.root().to_path_buf();
        self.facts.apply(record, &root);
    }
}

impl Facts {
    fn apply(&mut self, record: &Record, root: &Path) {
        let at = record.at_millis;
        self.seq = record.seq;
        match &record.fact {
            Fact::Opened { epoch, folder, .. } => {
                self.epoch = *epoch;
                self.folder = folder.clone();
            }
            Fact::RunCreated { run, spec_name, spec_path, plan_hash } => {
                self.runs.push(RunRow::new(run, spec_name, spec_path.clone(), plan_hash, at));
            }
            Fact::StepsPlanned { run, steps } => {
                if let Some(view) = self.run_mut(run) {
                    view.plan(steps, record.offset);
                }
            }
            Fact::AttemptIntended { run, step, number, token, dir }
            | Fact::AttemptAdopted { run, step, number, token, dir } => {
                self.begin_attempt(run, step, new_attempt(*number, token, root.join(dir), at), at);
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
            Fact::CommitIntended { .. } | Fact::Acted(_) => {}
            Fact::ArtifactCommitted(artifact) => self.commit(artifact, root, at),
            Fact::ArtifactDeleted { fingerprint } => {
                self.artifacts.remove(fingerprint);
            }
            Fact::StepMoved { run, step, to } => self.move_step(run, step, to, at),
            Fact::RunMoved { run, state } => self.move_run(run, *state, at),
            Fact::Noted { topic, key, value } => self.take_note(topic, key, value),
        }
    }

    fn run_mut(&mut self, run: &str) -> Option<&mut RunRow> {
        self.runs.iter_mut().rev().find(|view| view.id == run)
    }

    fn step_mut(&mut self, run: &str, step: &str) -> Option<&mut StepRow> {
        self.run_mut(run)?.step_mut(step)
    }

    fn begin_attempt(&mut self, run: &str, step: &str, attempt: AttemptView, at: i64) {
        let Some(view) = self.step_mut(run, step) else { return };
        view.state = StepState::Submitted;
        view.started_millis.get_or_insert(at);
        view.finished_millis = None;
        view.error = None;
        let fingerprint = view.fingerprint.clone();
        let attempts = self.attempts.entry(fingerprint).or_default();
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
            view.error = outcome.failure().map(Box::new);
            if *outcome == AttemptOutcome::Cancelled {
                view.state = StepState::Waiting;
            }
        }
    }

    fn commit(&mut self, artifact: &CommittedArtifact, root: &Path, at: i64) {
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
            path: root.join(&artifact.path),
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
                view.error = Some(Box::new(failure.clone()));
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
        if let Some(view) = self.run_mut(run) {
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

    /// Replaces the folder that paths begin with.
    pub(super) fn rebase(&mut self, from: &Path, to: &Path) {
        let moved = |path: &mut PathBuf| {
            if let Ok(below) = path.strip_prefix(from) {
                *path = to.join(below);
            }
        };
        self.attempts.values_mut().flatten().for_each(|attempt| moved(&mut attempt.dir));
        self.artifacts.values_mut().for_each(|artifact| moved(&mut artifact.path));
    }
}

fn new_attempt(number: u32, token: &str, dir: PathBuf, at: i64) -> AttemptView {
    AttemptView {
        number,
        token: token.to_owned(),
        dir,
        submitted_millis: at,
        ended_millis: None,
        worker_pid: None,
        outcome: String::new(),
        error: None,
        peak_rss_bytes: 0,
        cpu_millis: 0,
    }
}
