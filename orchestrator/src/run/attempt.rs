//! What an attempt is to do, and judging how it ended.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cupola_specs::contract::{ErrorClass, Failure, InputArtifact, JobFile, ShimResult, TelemetryTargets};
use cupola_specs::job::{Device, StepKind};
use cupola_specs::spec::{CurveFolder, Telemetry};

use crate::executor::{AttemptRef, WorkOrder};
use crate::plan::{Input, Plan, PlannedStep, absolute, external_kind};
use crate::state::{EventFold, StateDir, events_file};
use crate::store::Store;

/// Where the output of an attempt is filled.
pub(super) fn staging_path(dir: &StateDir, fingerprint: &str, token: &str) -> PathBuf {
    dir.staging().join(format!("{fingerprint}.{token}"))
}

/// What an attempt is given that its step does not say.
#[derive(Debug)]
pub(super) struct Given {
    /// The devices that are its own.
    pub(super) devices: Vec<u32>,
    /// How often attempts before it ran out of memory.
    pub(super) micro_batch_halvings: u32,
    /// The span that caused it.
    pub(super) traceparent: Option<String>,
}

/// What an attempt of a planned step is to do.
pub(super) fn work_order<'a>(
    dir: &StateDir,
    plan: &Plan,
    planned: &'a PlannedStep,
    (run, attempt): (&str, &AttemptRef),
    Given { devices, micro_batch_halvings, traceparent }: Given,
) -> WorkOrder<'a> {
    let job = JobFile {
        version: 1,
        run: run.to_owned(),
        step: planned.step.name.clone(),
        token: attempt.token.clone(),
        fingerprint: planned.fingerprint.clone(),
        params: planned.step.params.clone(),
        inputs: inputs_of(&Store::new(dir), plan, planned),
        sources: if planned.files.is_empty() {
            PathBuf::from("/dev/null")
        } else {
            attempt.dir.join("sources.jsonl")
        },
        staging: staging_path(dir, &planned.fingerprint, &attempt.token),
        checkpoints: dir.checkpoints(&planned.fingerprint),
        events: events_file(&attempt.dir),
        seed: planned.step.seed,
        device: match planned.step.settings.device {
            Device::Cuda => Device::Cuda,
            Device::Auto | Device::Cpu => Device::Cpu,
        },
        deterministic: planned.step.settings.deterministic,
        threads: planned.step.settings.cores,
        parallel: planned.step.settings.parallel,
        recompute: planned.step.settings.recompute,
        micro_batch_halvings,
        telemetry: targets(dir, &plan.telemetry, run, planned),
    };
    // Each rank is a process with a limit of its own.
    let ranks = u64::from(planned.step.settings.parallel.data.max(1));
    let memory_limit_bytes = planned.step.settings.memory_limit_bytes / ranks;
    WorkOrder { job, sources: &planned.files, devices, memory_limit_bytes, traceparent }
}

/// Where the curves of a step go.
fn targets(dir: &StateDir, telemetry: &Telemetry, run: &str, planned: &PlannedStep) -> TelemetryTargets {
    let (step, fingerprint) = (&planned.step.name, &planned.fingerprint);
    let own = dir.curves(run, step, fingerprint);
    let folder = |wanted: &CurveFolder| match wanted {
        CurveFolder::Off => None,
        CurveFolder::OfRun => Some(own.clone()),
        CurveFolder::Folder(root) => own.file_name().map(|name| absolute(root).join(run).join(name)),
    };
    TelemetryTargets {
        tensorboard: folder(&telemetry.tensorboard),
        csv: folder(&telemetry.csv),
        jsonl: folder(&telemetry.jsonl),
        mlflow: telemetry.mlflow.clone(),
        wandb: telemetry.wandb.clone(),
        positions: dir.step(fingerprint).join("telemetry"),
        peak_flops: telemetry.peak_flops,
    }
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

/// The job file of a step that no run attempts: what it reads, for a program that does something else with it. `folder` is that program's.
pub fn job_outside_a_run(dir: &StateDir, plan: &Plan, planned: &PlannedStep, folder: &Path) -> JobFile {
    let attempt = AttemptRef { token: "0.0".to_owned(), dir: folder.to_path_buf() };
    let given = Given { devices: Vec::new(), micro_batch_halvings: 0, traceparent: None };
    work_order(dir, plan, planned, ("none", &attempt), given).job
}

/// Why an attempt that ended without a `finished` event failed.
pub(super) fn failure_of(
    fold: &EventFold,
    result: Option<&ShimResult>,
    (lost, is_disk_full): (&str, bool),
) -> Failure {
    if let Some(failure) = &fold.failed {
        return failure.clone();
    }
    let failure = |class, code: &str, message: String, hint: &str| Failure {
        class,
        code: code.to_owned(),
        message,
        hint: hint.to_owned(),
    };
    let was_killed = result.is_some_and(|result| result.signal.is_some());
    if is_disk_full && !was_killed {
        // Its last word found no room.
        let message = "the attempt ended without a word on a full disk".to_owned();
        return failure(ErrorClass::Transient, Failure::STORAGE_FULL, message, "make room on the disk");
    }
    let Some(result) = result else {
        return failure(ErrorClass::Transient, "worker_lost", lost.to_owned(), "");
    };
    let logs = "see its log with `cupola logs`";
    if result.out_of_memory {
        let message = "the worker died of want of memory".to_owned();
        let hint = "lower `batch.micro_batch` or `context.length`, or raise `resources.memory`";
        return failure(ErrorClass::Transient, Failure::OUT_OF_MEMORY, message, hint);
    }
    match (result.signal, result.exit_code) {
        (Some(9), _) => {
            failure(ErrorClass::Transient, "killed", "the worker was killed (signal 9)".to_owned(), "")
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
