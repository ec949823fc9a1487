//! Where an attempt's curves go beside its event stream. Nothing of this changes a byte of an artifact.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::spec::SecretRef;

/// The sinks of one attempt; each is off where it is none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryTargets {
    /// The folder of TensorBoard event files.
    pub tensorboard: Option<PathBuf>,
    /// The folder of `metrics.csv`.
    pub csv: Option<PathBuf>,
    /// The folder of `metrics.jsonl`.
    pub jsonl: Option<PathBuf>,
    /// MLflow's tracking server.
    pub mlflow: Option<MlflowTarget>,
    /// A server that takes what W&B's client sends.
    pub wandb: Option<WandbTarget>,
    /// The folder that says, for each server, which run it was told and how far: it outlives an attempt and ends with the step.
    pub positions: PathBuf,
    /// Peak of one device, FLOP/s; none where it is looked up or measured.
    pub peak_flops: Option<f64>,
}

/// MLflow's tracking server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlflowTarget {
    /// Its URL.
    pub url: String,
    /// The experiment, made where there is none.
    pub experiment: String,
    /// The variable with the bearer token, or with the password where a user is named.
    pub token: Option<SecretRef>,
    /// The user of HTTP's basic authentication.
    pub username: Option<String>,
}

/// A server that takes what W&B's client sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WandbTarget {
    /// Its URL.
    pub base_url: String,
    /// The project.
    pub project: String,
    /// The user or team; none is the key's own.
    pub entity: Option<String>,
    /// The variable with the API key.
    pub api_key: SecretRef,
}
