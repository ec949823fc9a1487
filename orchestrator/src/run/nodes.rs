//! From a plan to the scheduler's nodes, and what is said of a run's end.

use std::collections::HashMap;
use std::path::PathBuf;

use cupola_specs::contract::ErrorClass;

use super::{Node, Slots};
use crate::plan::{Plan, PlannedStep};
use crate::state::{RunRow, RunState, RunView, StepState};

/// The steps of a plan as the scheduler sees them.
pub(super) fn nodes_of(plan: &Plan, run: Option<&RunRow>) -> Vec<Node> {
    let mut by_name: HashMap<&str, usize> = HashMap::with_capacity(plan.steps.len());
    let mut by_identity: HashMap<&str, usize> = HashMap::with_capacity(plan.steps.len());
    for (at, planned) in plan.steps.iter().enumerate() {
        by_name.entry(&planned.step.name).or_insert(at);
        by_identity.entry(&planned.fingerprint).or_insert(at);
    }
    let index = |name: &String| by_name.get(name.as_str()).copied();
    let node = |(at, planned): (usize, &PlannedStep)| {
        let settings = planned.step.settings;
        let mut needs: Vec<usize> = planned.step.needs().iter().filter_map(index).collect();
        // Of steps with the same identity the first one works and the others find its artifact.
        needs.extend(by_identity.get(planned.fingerprint.as_str()).filter(|first| **first < at));
        Node {
            name: planned.step.name.clone(),
            fingerprint: planned.fingerprint.clone(),
            needs,
            slots: Slots {
                cores: settings.cores,
                devices: settings.devices,
                memory_bytes: settings.memory_bytes,
            },
            halvings: planned.step.params.most_halvings(),
            retries: settings.retries,
            timeout_millis: (settings.timeout_secs * 1000.0) as i64,
            priority: settings.priority,
            work: planned.step.params.relative_work(),
            done: run.and_then(|run| run.step(&planned.step.name)).is_some_and(|step| step.state.is_done()),
        }
    };
    plan.steps.iter().enumerate().map(node).collect()
}

/// A run that nothing is known of.
pub(super) fn empty_view(run: &str) -> RunView {
    RunView {
        id: run.to_owned(),
        spec_name: String::new(),
        spec_path: PathBuf::new(),
        plan_hash: String::new(),
        state: RunState::Interrupted,
        created_millis: 0,
        ended_millis: None,
        waits_for: None,
        steps: Vec::new(),
    }
}

/// Whether a failure is the user's to mend.
pub fn is_users_fault(run: &RunView) -> bool {
    let failed = run.steps.iter().filter(|step| step.state == StepState::Failed);
    let mut classes = failed.filter_map(|step| step.error.as_ref()).map(|error| error.class).peekable();
    classes.peek().is_some() && classes.all(|class| class == ErrorClass::User)
}
