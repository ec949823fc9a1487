//! Finding the model that a name means: a folder, a job or step of a run, or what the newest spec serves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cupola_specs::job::StepKind;
use serde_json::Value;

use super::CliError;
use crate::state::{Projection, RunRow, StepRow};

/// A model that can be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundModel {
    /// What clients call it.
    pub(super) name: String,
    /// Its folder.
    pub(super) folder: PathBuf,
    /// Where its spec wants it served.
    pub(super) listen: Option<SocketAddr>,
}

/// The model that `name` means; without a name the one that the newest spec serves, else the newest model there is.
pub(super) fn find_model(projection: &Projection, name: Option<&str>) -> Result<FoundModel, CliError> {
    if let Some(folder) = name.map(Path::new).filter(|folder| folder.join("config.json").is_file()) {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
        let name = folder.file_name().map_or("model".to_owned(), |name| name.to_string_lossy().into_owned());
        return Ok(FoundModel { name, folder, listen: None });
    }
    let served = projection.runs().iter().rev().find_map(|run| served_by(projection, run));
    let listen = served.as_ref().and_then(|(_, listen)| *listen);
    let wanted = name.map(str::to_owned).or_else(|| served.map(|(job, _)| job));
    let steps = projection.runs().iter().rev().flat_map(|run| run.steps.iter().rev());
    let found = steps.filter(|step| is_model(step.kind) && step.state.is_done()).find_map(|step| {
        let fits = wanted.as_deref().is_none_or(|wanted| step.job == wanted || step.name == wanted);
        let artifact = projection.artifacts().get(&step.fingerprint).filter(|_| fits)?;
        Some(FoundModel { name: model_name(step), folder: artifact.path.clone(), listen })
    });
    found.ok_or_else(|| missing(projection, wanted.as_deref()))
}

/// The job that a run's spec serves, and where.
fn served_by(projection: &Projection, run: &RunRow) -> Option<(String, Option<SocketAddr>)> {
    let text = std::fs::read(projection.dir().run(&run.id).join("spec.json")).ok()?;
    let spec: Value = serde_json::from_slice(&text).ok()?;
    let serve = spec.get("serve")?;
    let job = serve.pointer("/model/job/job")?.as_str()?.to_owned();
    let listen = serve.get("listen").and_then(Value::as_str).and_then(|listen| listen.parse().ok());
    Some((job, listen))
}

fn is_model(kind: StepKind) -> bool {
    matches!(kind, StepKind::Pretrain | StepKind::Sft | StepKind::Optimize)
}

fn model_name(step: &StepRow) -> String {
    if step.job.is_empty() { step.name.clone() } else { step.job.clone() }
}

fn missing(projection: &Projection, wanted: Option<&str>) -> CliError {
    let mut known: Vec<String> = Vec::new();
    for step in projection.runs().iter().rev().flat_map(|run| &run.steps) {
        let name = model_name(step);
        if is_model(step.kind) && step.state.is_done() && !known.contains(&name) {
            known.push(name);
        }
    }
    let hint = if known.is_empty() {
        "`cupola apply SPEC` makes models; a folder with a config.json works too".to_owned()
    } else {
        format!("there are {}", known.join(", "))
    };
    match wanted {
        Some(wanted) => CliError::input(format!("there is no finished model `{wanted}`"), hint),
        None => CliError::input("there is no finished model yet", hint),
    }
}
