//! `telemetry`: where curves go beside the state folder, as written and as resolved.

use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::decode::{At, Decode, wrong_type};
use super::reference::FilePath;
use super::resolve::check_url;
use super::secret::Secret;
use super::session::Session;
use super::tree::{Node, Spot};
use super::units::Flops;
use super::written::{name, written};
use crate::contract::{MlflowTarget, WandbTarget};

/// Where a kind of files goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CurveFolder {
    /// Nowhere.
    #[default]
    Off,
    /// `true`: the run's own folder in the state folder.
    OfRun,
    /// A folder below which each run and step has one.
    Folder(PathBuf),
}

/// Where curves go beside the state folder.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Telemetry {
    /// TensorBoard event files.
    pub tensorboard: CurveFolder,
    /// `metrics.csv`.
    pub csv: CurveFolder,
    /// `metrics.jsonl`.
    pub jsonl: CurveFolder,
    /// MLflow's tracking server.
    pub mlflow: Option<MlflowTarget>,
    /// A server that takes what W&B's client sends.
    pub wandb: Option<WandbTarget>,
    /// Peak of one device, FLOP/s; none where it is looked up or measured.
    pub peak_flops: Option<f64>,
}

impl Telemetry {
    /// The secrets that are read while a step runs.
    pub fn secrets(&self) -> impl Iterator<Item = &super::SecretRef> {
        let mlflow = self.mlflow.iter().filter_map(|target| target.token.as_ref());
        mlflow.chain(self.wandb.iter().map(|target| &target.api_key))
    }
}

written! {
    /// Where curves go beside the state folder. Nothing of it changes a result, and a server that does not answer neither slows nor fails a run.
    pub(crate) struct TelemetryWritten {
        /// TensorBoard event files: true for the run's folder in the state folder, or a folder below which each run and step has one.
        tensorboard: CurveFolder = "false",
        /// metrics.csv (at_millis,step,name,value): true for the run's folder in the state folder, or a folder.
        csv: CurveFolder = "false",
        /// metrics.jsonl, one event a line: true for the run's folder in the state folder, or a folder.
        jsonl: CurveFolder = "false",
        /// MLflow's tracking server, over its REST API; without it none is told.
        mlflow: Option<MlflowWritten>,
        /// W&B, or a server that takes what its client sends; without it none is told.
        wandb: Option<WandbWritten>,
        /// Peak of one device, FLOP/s: what mfu is a share of. Default: the data sheet's for a known GPU, else measured.
        peak_flops: Option<Flops>; 1.0 ..= 1e24,
    }

    /// MLflow's tracking server.
    pub(crate) struct MlflowWritten {
        /// URL of the server.
        url: At<String>,
        /// Experiment, made where there is none. Default: the spec's name.
        experiment: Option<String>,
        /// Bearer token, or the user's password, as ${secret.NAME}; without it none is sent.
        token: Option<Secret>,
        /// User of HTTP's basic authentication; without it the token is a bearer token.
        username: Option<String>,
    }

    /// W&B, or a server that takes what its client sends.
    pub(crate) struct WandbWritten {
        /// URL of the server.
        base_url: At<String> = "https://api.wandb.ai",
        /// Project. Default: the spec's name.
        project: Option<String>,
        /// User or team. Default: the key's own.
        entity: Option<String>,
        /// API key, as ${secret.NAME}.
        api_key: Secret,
    }
}

impl TelemetryWritten {
    /// With the spec's name where a server wants one.
    pub(crate) fn resolve(&self, spec: &str) -> Telemetry {
        let named = |name: &Option<String>| name.clone().unwrap_or_else(|| spec.to_owned());
        let base = |url: &At<String>| url.value.trim_end_matches('/').to_owned();
        Telemetry {
            tensorboard: self.tensorboard.clone(),
            csv: self.csv.clone(),
            jsonl: self.jsonl.clone(),
            mlflow: self.mlflow.as_ref().map(|mlflow| MlflowTarget {
                url: base(&mlflow.url),
                experiment: named(&mlflow.experiment),
                token: mlflow.token.as_ref().map(|token| token.0.clone()),
                username: mlflow.username.clone(),
            }),
            wandb: self.wandb.as_ref().map(|wandb| WandbTarget {
                base_url: base(&wandb.base_url),
                project: named(&wandb.project),
                entity: wandb.entity.clone(),
                api_key: wandb.api_key.0.clone(),
            }),
            peak_flops: self.peak_flops.map(|peak| peak.0),
        }
    }
}

/// The addresses of servers are URLs.
pub(crate) fn check_servers(written: &TelemetryWritten, session: &mut Session<'_>) {
    let mlflow = written.mlflow.iter().map(|mlflow| &mlflow.url);
    for url in mlflow.chain(written.wandb.iter().map(|wandb| &wandb.base_url)) {
        check_url(url, "http://HOST:PORT or https://HOST", session);
    }
}

impl Decode for CurveFolder {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        match node.text() {
            Some("true" | "false") => {
                bool::decode(node, session).map(|on| if on { Self::OfRun } else { Self::Off })
            }
            Some(_) => FilePath::decode(node, session).map(|path| Self::Folder(path.0)),
            None => {
                wrong_type(node, "true, false or a folder", session);
                None
            }
        }
    }

    fn stand_in(_spot: Spot) -> Option<Self> {
        Some(Self::Off)
    }
}

impl JsonSchema for CurveFolder {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        name("CurveFolder")
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "boolean" }, generator.subschema_for::<FilePath>()], "examples": [true, "./curves"] })
    }
}
