//! Facts as spans and events: what state records is what is logged.
//!
//! A run's span lasts while this process drives it, a step's from its first attempt here to its end, an attempt's from its intent to its
//! outcome. A run that another process began, and an attempt that is adopted, have spans from the moment they are taken over.

use std::collections::BTreeMap;

use tracing::field::{Empty, display};
use tracing::{Id, Span, debug, info, info_span};

use crate::state::{AttemptOutcome, Fact, Record, RunState, StepMove};

type StepKey = (String, String);

/// The spans of what goes on.
#[derive(Debug, Default)]
pub struct FactSpans {
    runs: BTreeMap<String, Span>,
    steps: BTreeMap<StepKey, Span>,
    attempts: BTreeMap<(StepKey, String), Span>,
}

impl FactSpans {
    /// Tells a fact that was recorded.
    pub fn take(&mut self, record: &Record) {
        let seq = record.seq;
        match &record.fact {
            Fact::Opened { epoch, .. } => info!(seq, epoch, "state opened"),
            Fact::RunCreated { run, spec_name, .. } => {
                let id = self.run(run);
                info!(parent: id, seq, run, spec = spec_name, "run created");
            }
            Fact::StepsPlanned { run, steps } => {
                debug!(parent: self.id_of_run(run), seq, run, steps = steps.len(), "steps planned");
            }
            Fact::RunMoved { run, state } => self.move_run(run, *state, seq),
            Fact::AttemptIntended { run, step, number, token, .. } => {
                let id = self.attempt(run, step, *number, token);
                info!(parent: id, seq, run, step, token, number, "attempt submitted");
            }
            Fact::AttemptAdopted { run, step, number, token, .. } => {
                let id = self.attempt(run, step, *number, token);
                info!(parent: id, seq, run, step, token, number, "attempt adopted");
            }
            Fact::AttemptStarted { run, step, token, worker_pid } => {
                info!(parent: self.id_of(run, step, token), seq, run, step, token, worker_pid, "attempt started");
            }
            Fact::AttemptUnknown { run, step, token, reason } => {
                info!(parent: self.id_of(run, step, token), seq, run, step, token, reason, "attempt not seen");
            }
            Fact::AttemptEnded { run, step, token, outcome, .. } => {
                self.end_attempt(run, step, token, outcome, seq);
            }
            Fact::CheckpointSaved { fingerprint, record } => {
                info!(seq, fingerprint, at_step = record.step, bytes = record.size_bytes, "checkpoint saved");
            }
            Fact::CommitIntended { run, step, token, .. } => {
                debug!(parent: self.id_of(run, step, token), seq, run, step, token, "commit begins");
            }
            Fact::ArtifactCommitted(artifact) => {
                let key = (artifact.run.clone(), artifact.step.clone());
                let (kind, bytes) = (artifact.kind.as_str(), artifact.size_bytes);
                info!(parent: self.id_of_step(&key), seq, run = key.0, step = key.1, kind, bytes, "artifact committed");
                self.end_step(&key, "succeeded", None);
            }
            Fact::ArtifactDeleted { fingerprint } => info!(seq, fingerprint, "artifact deleted"),
            Fact::StepMoved { run, step, to } => self.move_step(&(run.clone(), step.clone()), to, seq),
            // The value may be anybody's, also a secret.
            Fact::Acted(act) => info!(seq, who = act.actor.who(), verb = act.verb, "acted"),
            Fact::Noted { topic, key, .. } => debug!(seq, topic, key, "noted"),
        }
    }

    /// The attempt's identity for its worker: `TRACEPARENT`. None where spans are not sent.
    pub fn traceparent(&self, run: &str, step: &str, token: &str) -> Option<String> {
        let key = ((run.to_owned(), step.to_owned()), token.to_owned());
        super::traceparent(self.attempts.get(&key)?)
    }

    /// The run's span, made where it is not there.
    fn run(&mut self, run: &str) -> Option<Id> {
        let make = || info_span!("run", otel.name = %format!("run {run}"), run, state = Empty);
        self.runs.entry(run.to_owned()).or_insert_with(make).id()
    }

    fn step(&mut self, run: &str, step: &str) -> Option<Id> {
        let parent = self.run(run);
        let make = || info_span!(parent: parent, "step", otel.name = %format!("step {step}"), step, state = Empty, otel.status_code = Empty, error.code = Empty);
        self.steps.entry((run.to_owned(), step.to_owned())).or_insert_with(make).id()
    }

    fn attempt(&mut self, run: &str, step: &str, number: u32, token: &str) -> Option<Id> {
        let parent = self.step(run, step);
        let make = || info_span!(parent: parent, "attempt", otel.name = %format!("attempt {number} of {step}"), token, number, outcome = Empty, otel.status_code = Empty, error.code = Empty);
        let key = ((run.to_owned(), step.to_owned()), token.to_owned());
        self.attempts.entry(key).or_insert_with(make).id()
    }

    fn id_of_run(&self, run: &str) -> Option<Id> {
        self.runs.get(run)?.id()
    }

    fn id_of_step(&self, key: &StepKey) -> Option<Id> {
        self.steps.get(key).and_then(Span::id).or_else(|| self.id_of_run(&key.0))
    }

    fn id_of(&self, run: &str, step: &str, token: &str) -> Option<Id> {
        let key = ((run.to_owned(), step.to_owned()), token.to_owned());
        self.attempts.get(&key).and_then(Span::id).or_else(|| self.id_of_step(&key.0))
    }

    fn move_run(&mut self, run: &str, state: RunState, seq: u64) {
        let id = if state == RunState::Running { self.run(run) } else { self.id_of_run(run) };
        info!(parent: id, seq, run, state = state.as_str(), "run moved");
        if state.is_final() || state == RunState::Interrupted {
            if let Some(span) = self.runs.remove(run) {
                span.record("state", state.as_str());
            }
            // What is still open of it goes on elsewhere, or never ended.
            self.steps.retain(|(of, _), _| of != run);
            self.attempts.retain(|((of, _), _), _| of != run);
        }
    }

    fn end_attempt(&mut self, run: &str, step: &str, token: &str, outcome: &AttemptOutcome, seq: u64) {
        let word = outcome.as_str();
        let failure = outcome.failure();
        let code = failure.as_ref().map(|failure| failure.code.as_str());
        let message = failure.as_ref().map(|failure| failure.message.as_str());
        info!(parent: self.id_of(run, step, token), seq, run, step, token, outcome = word, code, error = message, "attempt ended");
        let key = ((run.to_owned(), step.to_owned()), token.to_owned());
        if let Some(span) = self.attempts.remove(&key) {
            span.record("outcome", word);
            if let Some(code) = code {
                span.record("otel.status_code", "ERROR");
                span.record("error.code", display(code));
            }
        }
    }

    fn move_step(&mut self, key: &StepKey, to: &StepMove, seq: u64) {
        let parent = self.id_of_step(key);
        let (run, step) = (key.0.as_str(), key.1.as_str());
        match to {
            StepMove::Waiting => info!(parent: parent, seq, run, step, "step waits"),
            StepMove::Backoff { until_millis } => {
                info!(parent: parent, seq, run, step, until_millis, "step waits for its next attempt");
            }
            StepMove::Cached => {
                info!(parent: parent, seq, run, step, "step found in the store");
                self.end_step(key, "cached", None);
            }
            StepMove::Failed { failure } => {
                let (code, error) = (failure.code.as_str(), failure.message.as_str());
                info!(parent: parent, seq, run, step, code, error, "step failed");
                self.end_step(key, "failed", Some(code));
            }
            StepMove::Blocked { by } => {
                info!(parent: parent, seq, run, step, by, "step blocked");
                self.end_step(key, "blocked", None);
            }
            StepMove::Cancelled => {
                info!(parent: parent, seq, run, step, "step cancelled");
                self.end_step(key, "cancelled", None);
            }
        }
    }

    fn end_step(&mut self, key: &StepKey, state: &str, code: Option<&str>) {
        let Some(span) = self.steps.remove(key) else { return };
        span.record("state", state);
        if let Some(code) = code {
            span.record("otel.status_code", "ERROR");
            span.record("error.code", code);
        }
    }
}
