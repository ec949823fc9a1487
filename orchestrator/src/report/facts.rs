//! Everything that a report card says, before it is said.

use std::collections::BTreeMap;

use cupola_specs::artifact::{CorpusStatistics, EvalReport, LawFile, PreferenceStatistics, TrainingRecord};
use cupola_specs::contract::Failure;
use cupola_specs::job::StepKind;

use crate::state::{Expected, RunState, SampleView, StepState};

/// Everything that a report card says.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportFacts {
    /// The run.
    pub run: RunFacts,
    /// Its steps in topological order.
    pub steps: Vec<StepFacts>,
    /// Statistics of each corpus.
    pub corpora: Vec<Named<CorpusStatistics>>,
    /// Each fitted law.
    pub laws: Vec<Named<LawFile>>,
    /// Every trained model, reward models included, in topological order.
    pub models: Vec<ModelFacts>,
    /// Statistics of each set of preferences.
    pub preferences: Vec<Named<PreferenceStatistics>>,
    /// Every evaluation.
    pub evals: Vec<Named<EvalReport>>,
    /// What made what.
    pub lineage: Vec<LineageFacts>,
    /// Artifact files that should be there and could not be read: file and reason.
    pub unreadable: Vec<(String, String)>,
    /// Price of a device for an hour, US dollars; 0 where none is known.
    pub usd_per_device_hour: f64,
    /// What was decided about the model that the spec serves, in one line; none where there was nothing to decide.
    pub served: Option<String>,
}

/// The run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFacts {
    /// Its id.
    pub id: String,
    /// The spec's name.
    pub spec_name: String,
    /// How it stands.
    pub state: RunState,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_millis: i64,
    /// When it ended, or the time of the report.
    pub ended_millis: i64,
    /// Version of Cupola.
    pub version: String,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepFacts {
    /// Its name in plans.
    pub name: String,
    /// The job that it is lowered from; empty for shared steps.
    pub job: String,
    /// Its kind.
    pub kind: StepKind,
    /// How it stands.
    pub state: StepState,
    /// Why it ran, or did not have to.
    pub reason: String,
    /// Names of the steps that it waits for.
    pub needs: Vec<String>,
    /// Wall-clock seconds; of a cached step those of the run that made it. None where it never ran.
    pub wall_secs: Option<f64>,
    /// Processor seconds.
    pub cpu_secs: f64,
    /// Peak resident memory, bytes.
    pub peak_rss_bytes: u64,
    /// What the plan expected it to take.
    pub expected: Expected,
    /// Attempts.
    pub attempts: u64,
    /// Warnings: code and message.
    pub warnings: Vec<(String, String)>,
    /// Why it failed.
    pub error: Option<Failure>,
}

/// Facts of the step of this name.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<T> {
    /// The step.
    pub step: String,
    /// The facts.
    pub facts: T,
}

/// A trained model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFacts {
    /// The step that trained it.
    pub step: String,
    /// The job, the name that evaluations use.
    pub job: String,
    /// The step's kind.
    pub kind: StepKind,
    /// How it was made.
    pub record: TrainingRecord,
    /// Texts that it wrote while it trained.
    pub samples: Vec<SampleView>,
}

/// An artifact and what made it.
#[derive(Debug, Clone, PartialEq)]
pub struct LineageFacts {
    /// The step.
    pub step: String,
    /// The artifact's kind.
    pub kind: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Fingerprints of its inputs by role.
    pub inputs: BTreeMap<String, String>,
    /// The run that made it.
    pub made_by: String,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// When it was committed, milliseconds since the Unix epoch.
    pub created_millis: i64,
}

impl ReportFacts {
    /// The model of the first step of this kind.
    pub fn model_of(&self, kind: StepKind) -> Option<&ModelFacts> {
        self.models.iter().find(|model| model.kind == kind)
    }

    /// Wall-clock seconds over all steps, cached ones included: what everything cost to make once.
    pub fn total_secs(&self) -> f64 {
        self.steps.iter().filter_map(|step| step.wall_secs).sum()
    }

    /// Price of that many device-seconds, US dollars; none where the spec states no price.
    pub fn usd(&self, secs: f64) -> Option<f64> {
        (self.usd_per_device_hour > 0.0).then(|| secs / 3600.0 * self.usd_per_device_hour)
    }
}
