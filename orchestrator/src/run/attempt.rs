//! Preparing an attempt, and judging how it ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use cupola_specs::contract::{ErrorClass, Failure, InputArtifact, JobFile, ShimResult};
use cupola_specs::job::{Device, StepKind};

use super::RunError;
use crate::plan::{Input, Plan, PlannedStep, absolute, external_kind};
use crate::state::{EventFold, StateDir, StateError};
use crate::store::Store;

/// Everything that names an attempt.
#[derive(Debug, Clone)]
pub(super) struct AttemptIdentity {
    /// The run.
    pub(super) run: String,
    /// `epoch.attempt`.
    pub(super) token: String,
    /// Its folder.
    pub(super) dir: PathBuf,
}

/// Where the output of an attempt is filled.
pub(super) fn staging_path(dir: &StateDir, fingerprint: &str, token: &str) -> PathBuf {
    dir.staging().join(format!("{fingerprint}.{token}"))
}

/// Writes the attempt's folder: source list, staging and checkpoint folders, and the job file last.
pub(super) fn prepare(
    dir: &StateDir,
    store: &Store,
    plan: &Plan,
    planned: &PlannedStep,
    identity: &AttemptIdentity,
) -> Result<(), RunError> {
    let staging = staging_path(dir, &planned.fingerprint, &identity.token);
    let checkpoints = dir.checkpoints(&planned.fingerprint);
    if staging.exists() {
        std::fs::remove_dir_all(&staging).map_err(StateError::io(&staging))?;
    }
    for folder in [&identity.dir, &staging, &checkpoints] {
        std::fs::create_dir_all(folder).map_err(StateError::io(folder))?;
    }
    let sources = identity.dir.join("sources.jsonl");
    write_sources(&sources, planned)?;
    let job = JobFile {
        version: 1,
        run: identity.run.clone(),
        step: planned.step.name.clone(),
        token: identity.token.clone(),
        fingerprint: planned.fingerprint.clone(),
        params: planned.step.params.clone(),
        inputs: inputs_of(store, plan, planned),
        sources,
        staging,
        checkpoints,
        events: identity.dir.join("events.jsonl"),
        seed: planned.step.seed,
        device: match planned.step.settings.device {
            Device::Cuda => Device::Cuda,
            Device::Auto | Device::Cpu => Device::Cpu,
        },
        threads: planned.step.settings.cores,
    };
    let path = identity.dir.join("job.json");
    let text = serde_json::to_vec_pretty(&job).map_err(StateError::Encode)?;
    std::fs::write(&path, text).map_err(StateError::io(&path))?;
    Ok(())
}

fn write_sources(path: &Path, planned: &PlannedStep) -> Result<(), RunError> {
    let file = File::create(path).map_err(StateError::io(path))?;
    let mut writer = BufWriter::new(file);
    for source in &planned.files {
        serde_json::to_writer(&mut writer, source).map_err(StateError::Encode)?;
        writer.write_all(b"\n").map_err(StateError::io(path))?;
    }
    writer.flush().map_err(StateError::io(path))?;
    Ok(())
}

fn inputs_of(store: &Store, plan: &Plan, planned: &PlannedStep) -> BTreeMap<String, InputArtifact> {
    let mut inputs = BTreeMap::new();
    for (role, input) in &planned.step.inputs {
        let fingerprint = planned.inputs.get(role).cloned().unwrap_or_default();
        let (kind, path) = match input {
            Input::Step(name) => {
                let kind = plan.step(name).map_or(StepKind::Data, |step| step.step.kind()).artifact_kind();
                (kind.to_owned(), store.path(kind, &fingerprint))
            }
            Input::Folder(path) => (external_kind(path, role), absolute(path)),
        };
        inputs.insert(role.clone(), InputArtifact { kind, path, fingerprint });
    }
    inputs
}

/// Why an attempt that ended without a `finished` event failed.
pub(super) fn failure_of(fold: &EventFold, result: Option<&ShimResult>, lost: &str) -> Failure {
    if let Some(failure) = &fold.failed {
        return failure.clone();
    }
    let failure = |class, code: &str, message: String, hint: &str| Failure {
        class,
        code: code.to_owned(),
        message,
        hint: hint.to_owned(),
    };
    let Some(result) = result else {
        return failure(ErrorClass::Transient, "worker_lost", lost.to_owned(), "");
    };
    let logs = "see its log with `cupola logs`";
    match (result.signal, result.exit_code) {
        (Some(9), _) => {
            let message =
                "the worker was killed (signal 9): by a person, or by the system for want of memory";
            failure(ErrorClass::Transient, "killed", message.to_owned(), "")
        }
        (Some(signal), _) => {
            failure(ErrorClass::Transient, "signal", format!("the worker was ended by signal {signal}"), logs)
        }
        (None, Some(127)) => {
            failure(ErrorClass::User, "no_worker", "the worker could not be started".to_owned(), logs)
        }
        (None, Some(0)) => failure(
            ErrorClass::Bug,
            "no_result",
            "the worker ended without saying that it finished".to_owned(),
            logs,
        ),
        (None, code) => {
            let message = format!("the worker ended with code {} and gave no reason", code.unwrap_or(-1));
            failure(ErrorClass::Bug, "worker_exit", message, logs)
        }
    }
}
