//! What is told: the body of an alert, as JSON with fields that stay.

use cupola_specs::contract::ErrorClass;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of the body: fields are added without a new one, never changed or taken away.
pub(super) const VERSION: u32 = 1;

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// A firing failed.
    RunFailed,
    /// A firing's report is worse than the one before it.
    Regression,
    /// Somebody tries the webhook.
    Test,
}

impl AlertKind {
    /// The kind's name in bodies and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RunFailed => "run_failed",
            Self::Regression => "regression",
            Self::Test => "test",
        }
    }
}

/// The body of an alert. Every field is always there; what does not apply is null or empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Version of this layout.
    pub version: u32,
    /// The same at each delivery of this alert: the idempotency key, also in the header `webhook-id`.
    pub id: String,
    /// What it is about.
    pub kind: AlertKind,
    /// When it was made, RFC 3339 in UTC.
    pub at: String,
    /// All of it in a few lines for people; chat services show this field.
    pub text: String,
    /// The spec's name.
    pub spec: String,
    /// The schedule's name in the spec.
    pub schedule: String,
    /// The firing: `spec.schedule@slot`; null for a test.
    pub firing: Option<String>,
    /// The run of the firing; null where it led to none.
    pub run: Option<String>,
    /// The exit code of the firing's process; -1 where a signal ended it, null where it is not known.
    pub exit_code: Option<i32>,
    /// What is to be said beside the steps.
    pub note: String,
    /// Steps that failed for good, in topological order.
    pub failed_steps: Vec<FailedStep>,
    /// Reports that are worse than the ones before them.
    pub reports: Vec<ReportChange>,
    /// Commands that tell more.
    pub look: Vec<String>,
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedStep {
    /// The step.
    pub step: String,
    /// `user`, `transient` or `bug`.
    pub class: ErrorClass,
    /// A stable short name of the failure.
    pub code: String,
    /// What the worker said, without secrets.
    pub message: String,
    /// What the user can do; may be empty.
    pub hint: String,
}

/// A report beside the one before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportChange {
    /// The step that made both.
    pub step: String,
    /// The report before.
    pub older: ReportId,
    /// The report of the firing.
    pub newer: ReportId,
    /// The metrics that got worse by more than chance, the surest first.
    pub worse: Vec<MetricChange>,
    /// How many metrics were compared.
    pub compared: usize,
    /// What was not compared, and why.
    pub not_compared: Vec<NotCompared>,
    /// How it was tested, in one line.
    pub test: String,
    /// The first step of the lineage that differs while all of its own inputs are equal; null where the records that tell it are gone.
    pub first_changed: Option<ChangedAncestor>,
}

/// Which report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportId {
    /// The run that it belongs to.
    pub run: String,
    /// The fingerprint of the artifact.
    pub fingerprint: String,
}

/// A metric before and now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricChange {
    /// The suite.
    pub suite: String,
    /// The model.
    pub model: String,
    /// The metric.
    pub metric: String,
    /// Whether a higher value is better.
    pub higher_is_better: bool,
    /// Before.
    pub old: Measured,
    /// Now.
    pub new: Measured,
    /// How many standard errors the new value is worse by; null where both intervals have no width.
    pub z: Option<f64>,
    /// How likely chance alone would make it at least that much worse.
    pub p: f64,
    /// The same corrected for the number of metrics; worse by more than chance where this is at most 0.05.
    pub p_adjusted: f64,
}

/// A value with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The value.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Independent units that it was measured on.
    pub n: u64,
}

/// Something that was not compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotCompared {
    /// A suite, or `suite model metric`.
    pub what: String,
    /// Why not.
    pub why: String,
}

/// The step at which two lineages part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangedAncestor {
    /// The step.
    pub step: String,
    /// Its kind.
    pub kind: String,
    /// What changed in it, in one line: `jobs.base.tokens changed from 1.5M to 1M (spec.yaml:23)`.
    pub why: String,
    /// The same for machines, as `cupola plan --json` has it.
    pub reasons: Vec<Value>,
    /// Its fingerprint before.
    pub old_fingerprint: String,
    /// Its fingerprint now.
    pub new_fingerprint: String,
}

impl MetricChange {
    /// What is measured: `perplexity base bpb`.
    pub fn name(&self) -> String {
        format!("{} {} {}", self.suite, self.model, self.metric)
    }

    /// In one line: `perplexity base bpb: 1.80 [1.76, 1.84] → 1.90 [1.84, 1.96], p = 0.003`.
    pub fn line(&self) -> String {
        let p = if self.p_adjusted < 0.0001 {
            "p < 0.0001".to_owned()
        } else {
            format!("p = {:.4}", self.p_adjusted)
        };
        format!("{}: {} → {}, {p}", self.name(), self.old.short(), self.new.short())
    }
}

impl Measured {
    fn short(&self) -> String {
        format!("{:.4} [{:.4}, {:.4}]", self.value, self.low, self.high)
    }
}
