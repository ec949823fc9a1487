//! Steps: what a plan is made of.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use cupola_specs::contract::SourceFile;
use cupola_specs::job::{Device, ParallelParams, Precision, Recompute, StepKind, StepParams};
use cupola_specs::spec::SourceGlob;

use crate::state::Expected;

/// One step as it is lowered from a job: pure data, nothing looked up yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its name in the plan: `base`, `law/sweep[transformer,1]`, `tokens[corpus,vocab]`.
    pub name: String,
    /// The job that it belongs to; empty for a step that jobs share.
    pub job: String,
    /// Resolved parameters; precision is never `auto`.
    pub params: StepParams,
    /// Inputs by role.
    pub inputs: BTreeMap<String, Input>,
    /// Patterns of the local files that it reads.
    pub sources: Vec<SourceGlob>,
    /// Steps that must end first although nothing of theirs is read.
    pub after: Vec<String>,
    /// Seed of everything random.
    pub seed: u64,
    /// How it is run.
    pub settings: StepSettings,
}

impl Step {
    /// Its kind.
    pub fn kind(&self) -> StepKind {
        self.params.kind()
    }

    /// Names of the steps that it waits for, each once, in order.
    pub fn needs(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        self.waits_for().filter(|name| seen.insert(*name)).map(str::to_owned).collect()
    }

    /// Names of the steps that it waits for; one may be named twice.
    pub(in crate::plan) fn waits_for(&self) -> impl Iterator<Item = &str> {
        let inputs = self.inputs.values().filter_map(|input| match input {
            Input::Step(name) => Some(name),
            Input::Folder(_) => None,
        });
        inputs.chain(&self.after).map(String::as_str)
    }
}

/// How a step is run; nothing of this is in its fingerprint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepSettings {
    /// Where tensors live; never `auto`.
    pub device: Device,
    /// Whether it gives the same bits when it runs again.
    pub deterministic: bool,
    /// Core slots of all ranks, at least 1.
    pub cores: u32,
    /// Device slots.
    pub devices: u32,
    /// The ranks that it is shared between.
    pub parallel: ParallelParams,
    /// What it computes again in backward.
    pub recompute: Recompute,
    /// Bytes of memory that it takes: its limit, or what it took before; 0 where nobody knows.
    pub memory_bytes: u64,
    /// Bytes of memory that it may take at most; 0 is no limit.
    pub memory_limit_bytes: u64,
    /// Whether it runs though its estimated memory is more than the machine has.
    pub overcommit: bool,
    /// Bytes of disk that its output and checkpoints take, by what is known of them; 0 where nobody knows.
    pub disk_bytes: u64,
    /// Attempts after a transient failure.
    pub retries: u32,
    /// Seconds that one attempt may take; 0 is no limit.
    pub timeout_secs: f64,
    /// Higher starts first.
    pub priority: i64,
}

impl StepSettings {
    /// One core, once, for as long as it takes.
    pub const PLAIN: Self = Self {
        device: Device::Cpu,
        deterministic: true,
        cores: 1,
        devices: 0,
        parallel: ParallelParams::ALONE,
        recompute: Recompute::None,
        memory_bytes: 0,
        memory_limit_bytes: 0,
        overcommit: false,
        disk_bytes: 0,
        retries: 0,
        timeout_secs: 0.0,
        priority: 0,
    };
}

/// Where an input is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The artifact of a step of the plan.
    Step(String),
    /// A folder outside the store.
    Folder(PathBuf),
}

/// The machine as planning needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Cores.
    pub cores: u32,
    /// CUDA devices.
    pub devices: u32,
    /// Whether the CPU multiplies bf16 fast.
    pub cpu_bf16: bool,
}

impl Machine {
    /// This machine.
    pub fn detect() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let flags = info.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
        let cpu_bf16 = flags.split_whitespace().any(|flag| matches!(flag, "avx512_bf16" | "amx_bf16"));
        let devices =
            (0..16).take_while(|i| PathBuf::from(format!("/dev/nvidia{i}")).exists()).count() as u32;
        Self { cores, devices, cpu_bf16 }
    }

    /// The device that `device` means here.
    pub fn device(self, device: Device) -> Device {
        match device {
            Device::Auto if self.devices > 0 => Device::Cuda,
            Device::Auto => Device::Cpu,
            other => other,
        }
    }

    /// The number format that `precision` means on `device`.
    pub fn precision(self, precision: Precision, device: Device) -> Precision {
        match precision {
            Precision::Auto if self.device(device) == Device::Cuda || self.cpu_bf16 => Precision::Bf16,
            Precision::Auto => Precision::Fp32,
            other => other,
        }
    }
}

/// A step with all that its identity rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStep {
    /// The step.
    pub step: Step,
    /// Its fingerprint, 64 hex digits.
    pub fingerprint: String,
    /// Fingerprints of its inputs by role.
    pub inputs: BTreeMap<String, String>,
    /// Its local files, by label and name.
    pub files: Vec<SourceFile>,
    /// Hash over its local files, by label.
    pub sources: BTreeMap<String, String>,
    /// What it is expected to take; nothing before it was estimated.
    pub expected: Expected,
}

impl PlannedStep {
    /// One hash over all local files; empty where it reads none.
    pub fn sources_hash(&self) -> String {
        if self.sources.is_empty() {
            return String::new();
        }
        let mut hasher = blake3::Hasher::new();
        for (label, hash) in &self.sources {
            hasher.update(label.as_bytes()).update(b"\0").update(hash.as_bytes()).update(b"\n");
        }
        hasher.finalize().to_hex().to_string()
    }
}
