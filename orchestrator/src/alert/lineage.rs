//! Where two lineages part: the first step that differs while all of its own inputs are equal.

use std::collections::{BTreeMap, BTreeSet};

use crate::state::{PlannedStep, Projection, RunRow, StateError};

/// A step of both lineages, as it was planned in each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangedStep<'a> {
    /// Before.
    pub older: &'a PlannedStep,
    /// Now.
    pub newer: &'a PlannedStep,
}

/// A step of a run and everything that its artifact rests on, as planned, in topological order; empty where the run has no such step.
pub fn lineage_of(projection: &Projection, run: &RunRow, step: &str) -> Result<Vec<PlannedStep>, StateError> {
    let mut open: Vec<usize> = run.position(step).into_iter().collect();
    let mut found: BTreeMap<usize, PlannedStep> = BTreeMap::new();
    while let Some(at) = open.pop() {
        if found.contains_key(&at) {
            continue;
        }
        let Some(row) = run.steps.get(at) else { continue };
        let Some(planned) = projection.planned_step(&run.id, &row.name)? else { continue };
        let reads: BTreeSet<&String> = planned.inputs.values().collect();
        // A step that is only waited for leaves nothing in the artifact.
        let sources = planned.needs.iter().filter_map(|name| run.position(name));
        open.extend(sources.filter(|at| run.steps.get(*at).is_some_and(|s| reads.contains(&s.fingerprint))));
        found.insert(at, planned);
    }
    Ok(found.into_values().collect())
}

/// The first step, in topological order, that both lineages have and that differs while what it reads of other steps is equal. Steps
/// that only one lineage has are no answer: a step that reads one of them instead of another is.
pub fn first_changed<'a>(older: &'a [PlannedStep], newer: &'a [PlannedStep]) -> Option<ChangedStep<'a>> {
    let by_name: BTreeMap<&str, &PlannedStep> = older.iter().map(|step| (step.name.as_str(), step)).collect();
    newer.iter().find_map(|now| {
        let before = *by_name.get(now.name.as_str())?;
        let differs = before.fingerprint != now.fingerprint;
        (differs && !inherits((older, before), (newer, now)))
            .then_some(ChangedStep { older: before, newer: now })
    })
}

/// Whether a step reads another artifact of the same step than before.
fn inherits(older: (&[PlannedStep], &PlannedStep), newer: (&[PlannedStep], &PlannedStep)) -> bool {
    newer.1.inputs.iter().any(|(role, fingerprint)| {
        let Some(before) = older.1.inputs.get(role).filter(|before| *before != fingerprint) else {
            return false;
        };
        match (maker(older, before), maker(newer, fingerprint)) {
            (Some(before), Some(now)) => before == now,
            _ => false,
        }
    })
}

/// The step that made an input; none for a folder.
fn maker<'a>((all, step): (&'a [PlannedStep], &PlannedStep), fingerprint: &str) -> Option<&'a str> {
    let made = all.iter().filter(|other| other.fingerprint == fingerprint);
    made.map(|other| other.name.as_str()).find(|name| step.needs.iter().any(|need| need == name))
}

#[cfg(test)]
pub(super) mod tests;
