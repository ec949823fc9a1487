//! What changed in a run since the last look, for those who read lines: people without a terminal, and programs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::line::telling;
use super::{Follower, ended_line, running_line};
use crate::state::WantedRoom;
use crate::state::{RunState, StepState, StepView};

/// Between two changes that only tell how far a step is.
const PROGRESS_MILLIS: i64 = 5_000;

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The run.
    pub run: String,
    /// When it was seen, milliseconds since the Unix epoch.
    pub at_millis: i64,
    /// What changed.
    pub what: Changed,
}

/// What changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Changed {
    /// The run's state; at the first look it counts as a change.
    Run {
        /// How it stands.
        state: RunState,
        /// Its steps.
        num_steps: usize,
        /// Those that were in the store before.
        num_cached: usize,
        /// What it waits for, where it is paused until there is room on the disk.
        waits_for: Option<WantedRoom>,
    },
    /// The state of a step.
    Step(Box<StepView>),
    /// How far a step is.
    Progress(Box<StepView>),
}

/// What was told already.
#[derive(Debug, Default)]
pub struct Changes {
    run: Option<RunState>,
    states: Vec<StepState>,
    progress: BTreeMap<usize, i64>,
}

impl Changes {
    /// What changed since the last call. Steps that were cached from the start are no news.
    pub fn since(&mut self, follower: &Follower, now_millis: i64) -> Vec<Change> {
        let Some(run) = follower.run() else { return Vec::new() };
        let mut found = Vec::new();
        let has_ended = run.state.is_final();
        let of_run = Changed::Run {
            state: run.state,
            num_steps: run.steps.len(),
            num_cached: run.steps.iter().filter(|step| step.cached).count(),
            waits_for: follower.wanted_room(),
        };
        let news = self.run != Some(run.state);
        self.run = Some(run.state);
        if news && !has_ended {
            found.push(of_run.clone());
        }
        self.states.resize(run.steps.len(), StepState::Waiting);
        for (at, step) in run.steps.iter().enumerate() {
            if self.states[at] != step.state {
                self.states[at] = step.state;
                self.progress.insert(at, now_millis);
                if !matches!(step.state, StepState::Cached | StepState::Waiting) {
                    found.extend(follower.view(at).map(|view| Changed::Step(Box::new(view))));
                }
            } else if step.state.is_live() && self.is_due(at, now_millis) {
                let view = follower.view(at).filter(|view| view.progress.is_some());
                self.progress.insert(at, now_millis);
                found.extend(view.map(|view| Changed::Progress(Box::new(view))));
            }
        }
        // The end of a run comes after those of its steps.
        if news && has_ended {
            found.push(of_run);
        }
        let (run, at_millis) = (&run.id, now_millis);
        found.into_iter().map(|what| Change { run: run.clone(), at_millis, what }).collect()
    }

    fn is_due(&self, at: usize, now_millis: i64) -> bool {
        self.progress.get(&at).is_none_or(|told| now_millis - told >= PROGRESS_MILLIS)
    }
}

impl Change {
    /// The change as a line for people.
    pub fn line(&self) -> String {
        match &self.what {
            Changed::Run { state: RunState::Running, num_steps, num_cached, .. } => {
                format!("run {}: {num_steps} steps, {num_cached} of them cached", self.run)
            }
            Changed::Run { state, waits_for: Some(room), .. } => {
                format!("run {}: {}: {}", self.run, state.as_str(), room.line())
            }
            Changed::Run { state, .. } => format!("run {}: {}", self.run, state.as_str()),
            Changed::Step(step) if step.state.is_final() => ended_line(step, self.at_millis),
            Changed::Step(step) | Changed::Progress(step) => {
                format!("· {}  {}", step.name, running_line(step, self.at_millis))
            }
        }
    }

    /// The change as one object for programs.
    pub fn json(&self) -> Value {
        let mut value = json!({ "at_millis": self.at_millis, "run": self.run });
        let more = match &self.what {
            Changed::Run { state, num_steps, num_cached, waits_for } => json!({
                "change": "run", "state": state, "steps": num_steps, "cached": num_cached, "waits_for": waits_for,
            }),
            Changed::Step(step) => json!({
                "change": "step", "step": step.name, "job": step.job, "kind": step.kind, "state": step.state,
                "reason": step.reason, "wall_millis": step.wall_millis(self.at_millis), "error": step.error,
            }),
            Changed::Progress(step) => json!({
                "change": "progress", "step": step.name, "progress": step.progress,
                "metric": telling(step).map(|(name, series)| json!({ "name": name, "last": series.last })),
            }),
        };
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        value
    }
}
