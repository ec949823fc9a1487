//! What changed between two times that a step was planned, both read from the journal: the same reasons that `plan` tells.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cupola_specs::job::StepParams;
use cupola_specs::spec::ResolvedSpec;

use super::decide::changes;
use super::fields::Fields;
use super::{Input, PlanError, PlannedStep, Reason, Step, StepSettings};
use crate::state::{PlannedStep as Recorded, RunRow};

/// What differs between two records of a step of one name, each with the run that it is of. `spec` is that of the newer one, for the
/// names of fields and their lines; without it a field is named by its parameter.
pub fn changes_between(
    (old_run, older): (&RunRow, &Recorded),
    (new_run, newer): (&RunRow, &Recorded),
    spec: Option<&ResolvedSpec>,
) -> Result<Vec<Reason>, PlanError> {
    let planned = planned(new_run, newer)?;
    let fields = Fields::new(spec);
    let mut reasons = changes(&planned, newer.code_version, (old_run, older), &fields)?;
    // Both were made: nothing is gone.
    reasons.retain(|reason| *reason != Reason::Gone);
    Ok(reasons)
}

/// A step as it was planned, made from its record.
fn planned(run: &RunRow, record: &Recorded) -> Result<PlannedStep, PlanError> {
    let input = |fingerprint: &String| {
        let is_it = |name: &&String| run.step(name).is_some_and(|step| step.fingerprint == *fingerprint);
        match record.needs.iter().find(is_it) {
            Some(name) => Input::Step(name.clone()),
            // The journal knows the content of a folder, not its path.
            None => Input::Folder(PathBuf::from("a folder")),
        }
    };
    let inputs: BTreeMap<String, Input> =
        record.inputs.iter().map(|(role, fingerprint)| (role.clone(), input(fingerprint))).collect();
    let params: StepParams = serde_json::from_value(record.params.clone())?;
    let step = Step {
        name: record.name.clone(),
        job: record.job.clone(),
        params,
        inputs,
        sources: Vec::new(),
        after: Vec::new(),
        seed: record.seed,
        settings: StepSettings::PLAIN,
    };
    Ok(PlannedStep {
        step,
        fingerprint: record.fingerprint.clone(),
        inputs: record.inputs.clone(),
        files: Vec::new(),
        sources: record.sources.clone(),
        expected: record.expected,
    })
}
