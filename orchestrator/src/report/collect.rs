//! From a run's read model and its artifact folders to [`ReportFacts`].

use std::path::Path;

use cupola_specs::artifact::{MANIFEST_FILE, Manifest};
use cupola_specs::job::StepKind;
use serde::de::DeserializeOwned;

use super::{LineageFacts, ModelFacts, Named, ReportFacts, ReportOptions, RunFacts, StepFacts};
use crate::state::{RunView, StepView};

/// Reads everything that a report says of `run`. What can't be read is listed, never an error.
pub fn collect(run: &RunView, options: &ReportOptions) -> ReportFacts {
    let mut facts = ReportFacts {
        run: RunFacts {
            id: run.id.clone(),
            spec_name: run.spec_name.clone(),
            state: run.state,
            created_millis: run.created_millis,
            ended_millis: run.ended_millis.unwrap_or(options.now_millis),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        steps: run.steps.iter().map(|step| step_facts(step, options.now_millis)).collect(),
        corpora: Vec::new(),
        laws: Vec::new(),
        models: Vec::new(),
        preferences: Vec::new(),
        evals: Vec::new(),
        lineage: Vec::new(),
        unreadable: Vec::new(),
        usd_per_device_hour: options.usd_per_device_hour,
        served: options.served.clone(),
    };
    for step in &run.steps {
        if let Some(folder) = step.artifact.as_deref().filter(|_| step.state.is_done()) {
            collect_artifact(&mut facts, step, folder);
        }
    }
    facts
}

/// What a report says of a step.
pub(crate) fn step_facts(step: &StepView, now_millis: i64) -> StepFacts {
    StepFacts {
        name: step.name.clone(),
        job: step.job.clone(),
        kind: step.kind,
        state: step.state,
        reason: step.reason.clone(),
        needs: step.needs.clone(),
        wall_secs: step.wall_millis(now_millis).map(|millis| millis as f64 / 1000.0),
        cpu_secs: step.cpu_millis as f64 / 1000.0,
        peak_rss_bytes: step.peak_rss_bytes,
        expected: step.expected,
        attempts: step.attempts.len() as u64,
        warnings: step.warnings.clone(),
        error: step.error.clone(),
    }
}

fn collect_artifact(facts: &mut ReportFacts, step: &StepView, folder: &Path) {
    let name = || step.name.clone();
    let unreadable = &mut facts.unreadable;
    if let Some(manifest) = read::<Manifest>(folder, MANIFEST_FILE, &step.name, unreadable) {
        facts.lineage.push(lineage_facts(&manifest));
    }
    match step.kind {
        StepKind::Data => {
            if let Some(found) = read(folder, "statistics.json", &step.name, unreadable) {
                facts.corpora.push(Named { step: name(), facts: found });
            }
        }
        StepKind::Fit => {
            if let Some(found) = read(folder, "law.json", &step.name, unreadable) {
                facts.laws.push(Named { step: name(), facts: found });
            }
        }
        StepKind::Pretrain | StepKind::Sft | StepKind::RewardModel | StepKind::Optimize => {
            if let Some(record) = read(folder, "training.json", &step.name, unreadable) {
                facts.models.push(ModelFacts {
                    step: name(),
                    job: step.job.clone(),
                    kind: step.kind,
                    record,
                    samples: step.samples.clone(),
                });
            }
        }
        StepKind::Preferences => {
            if let Some(found) = read(folder, "statistics.json", &step.name, unreadable) {
                facts.preferences.push(Named { step: name(), facts: found });
            }
        }
        StepKind::Eval => {
            if let Some(found) = read(folder, "report.json", &step.name, unreadable) {
                facts.evals.push(Named { step: name(), facts: found });
            }
        }
        StepKind::Tokenizer | StepKind::Tokens | StepKind::Sweep => {}
    }
}

fn lineage_facts(manifest: &Manifest) -> LineageFacts {
    LineageFacts {
        step: manifest.step.clone(),
        kind: manifest.kind.clone(),
        fingerprint: manifest.fingerprint.clone(),
        inputs: manifest.inputs.clone(),
        made_by: manifest.run.clone(),
        size_bytes: manifest.files.values().map(|file| file.size_bytes).sum(),
        created_millis: manifest.created_millis,
    }
}

/// The typed file `name` of an artifact; where it can't be read the reason goes on the list, with the step but no machine path.
fn read<T: DeserializeOwned>(
    folder: &Path,
    name: &str,
    step: &str,
    unreadable: &mut Vec<(String, String)>,
) -> Option<T> {
    let found = std::fs::read(folder.join(name))
        .map_err(|error| error.to_string())
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
    found.map_err(|reason| unreadable.push((format!("{step}: {name}"), reason))).ok()
}
