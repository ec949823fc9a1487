//! The job file: all that one attempt needs, nothing ambient.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::TelemetryTargets;
use crate::job::{Device, ParallelParams, Recompute, StepParams};

/// What a worker gets. Nothing in it is optional, and nothing else is read from the environment but the secrets that `telemetry` names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFile {
    /// Version of this contract.
    pub version: u32,
    /// The run.
    pub run: String,
    /// The step, as in plans: `base`, `law/sweep[transformer,2]`.
    pub step: String,
    /// The attempt token `epoch.attempt`: only the newest may commit.
    pub token: String,
    /// The step's fingerprint, as 64 hex digits.
    pub fingerprint: String,
    /// Resolved parameters.
    pub params: StepParams,
    /// Input artifacts by role; the roles are named at [`StepParams`].
    pub inputs: BTreeMap<String, InputArtifact>,
    /// The list of local files that the step reads, one [`SourceFile`] a line; `/dev/null` where it reads none.
    pub sources: PathBuf,
    /// The empty folder that the step fills.
    pub staging: PathBuf,
    /// The step's checkpoint folder: the worker makes it, writes states there and resumes from the newest whole one.
    pub checkpoints: PathBuf,
    /// The event stream to append to.
    pub events: PathBuf,
    /// Seed of everything random in the step.
    pub seed: u64,
    /// Where tensors live; never `auto`.
    pub device: Device,
    /// Whether a step that runs again gives the same bits. On CUDA, operations then take their deterministic form, which is slower.
    pub deterministic: bool,
    /// Threads that the step may use, all its ranks together.
    pub threads: u32,
    /// The ranks that a training step is shared between; one where it does not train.
    pub parallel: ParallelParams,
    /// What a training step computes again in backward; nothing where it does not train.
    pub recompute: Recompute,
    /// How often the micro-batch of a training step is halved, since earlier attempts ran out of memory.
    pub micro_batch_halvings: u32,
    /// Where curves go beside the event stream.
    pub telemetry: TelemetryTargets,
}

/// An artifact that a step reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputArtifact {
    /// `corpus`, `tokenizer`, `tokens`, `sweep`, `law`, `model`, `reward_model`, `preferences`, `report`, or `adapter` (a folder of PEFT's).
    pub kind: String,
    /// Its folder.
    pub path: PathBuf,
    /// Its fingerprint.
    pub fingerprint: String,
}

/// A local file that a step reads. The worker checks the hash of what it read: a file that changed since the plan is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// `sources.<name>`, `compare`, `data.<i>`, `prompts` or `suite.<i>`.
    pub label: String,
    /// Where it is.
    pub path: PathBuf,
    /// The file's name below the fixed part of its glob: a stable name that holds no folder of this machine.
    pub name: String,
    /// Length.
    pub size_bytes: u64,
    /// blake3 of its content, as hex.
    pub blake3: String,
}

/// The shim's first word: which process runs the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The shim's process id, which leads the attempt's session.
    pub shim_pid: u32,
    /// The worker's process id.
    pub worker_pid: u32,
    /// The worker's start time in clock ticks since boot: tells a reused pid.
    pub start_ticks: u64,
    /// The machine's boot id.
    pub boot_id: String,
    /// The attempt token.
    pub token: String,
}

/// The shim's last word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimResult {
    /// The attempt token.
    pub token: String,
    /// The worker's exit code; none where a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Peak resident memory of the worker, bytes.
    pub peak_rss_bytes: u64,
    /// User and system time of the worker, milliseconds.
    pub cpu_millis: u64,
    /// Whether the worker died of want of memory: the kernel killed it, or an allocation failed.
    #[serde(default)]
    pub out_of_memory: bool,
}
