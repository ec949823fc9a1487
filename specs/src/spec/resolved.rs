//! The resolved spec: what the orchestrator lowers. Nothing optional that has a default, every reference checked, every unit gone.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::origin::{Origin, Origins};
use super::schedule::Schedule;
use super::serve::Approval;
use super::telemetry::Telemetry;
use crate::job::{
    AutoOr, DataParams, Device, EvalParams, FitParams, OptimizeParams, ParallelParams, Precision,
    PreferencesParams, PretrainParams, Recompute, RewardModelParams, SftParams, SweepParams, TokenizerParams,
};

/// A spec with nothing left to decide.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResolvedSpec {
    /// The file that was loaded.
    pub file: PathBuf,
    /// The spec's name.
    pub name: String,
    /// What it builds, in the user's words; may be empty.
    pub description: String,
    /// Jobs in spec order, matrix jobs as `job[key=value]`. Edges are checked: no cycle, no unknown name.
    pub jobs: Vec<ResolvedJob>,
    /// What the whole spec may spend.
    pub budget: Budget,
    /// The model that is served; none where the spec names none.
    pub serve: Option<Serve>,
    /// Schedules in spec order.
    pub schedules: Vec<Schedule>,
    /// Judge models in spec order.
    pub judges: Vec<Judge>,
    /// Where curves go beside the state folder.
    pub telemetry: Telemetry,
    /// Where each written value is from: `jobs.base.tokens` → file, line, column. A path without an entry is a default.
    pub origins: Origins,
    /// Jobs by name.
    #[serde(skip)]
    pub(crate) index: JobIndex,
}

impl ResolvedSpec {
    /// The job of this name.
    pub fn job(&self, name: &str) -> Option<&ResolvedJob> {
        let index = self
            .index
            .0
            .get_or_init(|| self.jobs.iter().enumerate().map(|(at, job)| (job.name.clone(), at)).collect());
        match index.get(name).and_then(|at| self.jobs.get(*at)).filter(|job| job.name == name) {
            Some(job) => Some(job),
            // The list is public: it may have changed since.
            None => self.jobs.iter().find(|job| job.name == name),
        }
    }

    /// Where the value of a field path such as `jobs.base.tokens` is written: the field itself, or the nearest one around it.
    pub fn origin(&self, path: &str) -> Option<Origin> {
        let mut rest = path;
        loop {
            if let Some(origin) = self.origins.get(rest) {
                return Some(origin);
            }
            rest = &rest[..rest.rfind('.')?];
        }
    }
}

/// The jobs of a spec by name, found when the first one is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct JobIndex(OnceLock<HashMap<String, usize>>);

/// An index adds nothing to what it is made from.
impl PartialEq for JobIndex {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

/// What the whole spec may spend.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Hours of wall time; 0 where the spec states no budget.
    pub hours: f64,
    /// Devices that work at the same time. Default: 1.
    pub devices: u64,
    /// Price of a device for an hour, US dollars; 0 where the spec states none.
    pub usd_per_device_hour: f64,
}

impl Budget {
    /// Seconds times devices.
    pub fn device_secs(&self) -> f64 {
        self.hours * 3600.0 * self.devices as f64
    }
}

/// The kind of a job.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Raw files to a corpus.
    Data,
    /// A corpus to a tokenizer.
    Tokenizer,
    /// A sweep and a law.
    Scaling,
    /// A base model.
    Pretrain,
    /// A chat model.
    Sft,
    /// An aligned model.
    Rlhf,
    /// A report.
    Eval,
}

impl JobKind {
    /// Every kind, in the order of the way.
    pub const ALL: [Self; 7] =
        [Self::Data, Self::Tokenizer, Self::Scaling, Self::Pretrain, Self::Sft, Self::Rlhf, Self::Eval];

    /// The kind's word in the spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Tokenizer => "tokenizer",
            Self::Scaling => "scaling",
            Self::Pretrain => "pretrain",
            Self::Sft => "sft",
            Self::Rlhf => "rlhf",
            Self::Eval => "eval",
        }
    }
}

/// One job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResolvedJob {
    /// Its name in the spec; a matrix job's is `job[key=value,…]`.
    pub name: String,
    /// Its kind.
    pub kind: JobKind,
    /// What it is for, in the user's words; may be empty.
    pub description: String,
    /// Jobs that must end first although nothing of theirs is read (`after`).
    pub after: Vec<String>,
    /// Seed of everything random. Default: 1.
    pub seed: u64,
    /// Where tensors live. Default: `auto`.
    pub device: Device,
    /// Whether a step that runs again gives the same bits. Default: `auto`, which is true on the CPU and false on CUDA.
    pub deterministic: AutoOr<bool>,
    /// Number format of matrix products; also in the params. Default: `auto`.
    pub precision: Precision,
    /// Attempts after a first transient failure. Default: 2.
    pub retries: u32,
    /// Seconds that one attempt of one step may take; 0 is no limit. Default: no limit.
    pub timeout_secs: f64,
    /// Steps of higher priority start first. Default: 0.
    pub priority: i64,
    /// What a step of the job occupies.
    pub resources: Resources,
    /// The ranks of its training steps.
    pub parallel: ParallelParams,
    /// What its training steps compute again in backward. Default: `none`.
    pub recompute: Recompute,
    /// The line of the job's name.
    pub origin: Origin,
    /// What it does.
    pub body: ResolvedJobBody,
}

/// What a step occupies while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU cores of each rank; 0 takes what the executor has, for all of them.
    pub cores: u32,
    /// Bytes of memory; 0 is not limited.
    pub memory_bytes: u64,
    /// Whether a training runs too whose estimated memory is more than the machine has.
    pub overcommit: bool,
    /// Accelerators; 0 takes one for each rank where the device is `cuda`.
    pub devices: u32,
}

/// Another job's artifact, or one of its parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The job.
    pub job: String,
    /// `train`, `validation`, `pairs` or `validation_pairs` of a data job; `preferences`, `reward_model` or `model` of an rlhf job.
    /// None is the job's own result (of an rlhf job: its last step's).
    pub part: Option<String>,
}

/// Where an input is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactRef {
    /// A job of the same spec.
    Job(Reference),
    /// An exported artifact or a Hugging Face model folder (`{path: DIR}`).
    Path(PathBuf),
}

impl ArtifactRef {
    /// The job's name, where it is one.
    pub fn job(&self) -> Option<&str> {
        match self {
            Self::Job(reference) => Some(&reference.job),
            Self::Path(_) => None,
        }
    }
}

/// Local files of one label of a job file. Patterns are absolute or below the spec's folder; `~` is expanded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceGlob {
    /// `sources.<name>`, `compare`, `data.<i>`, `prompts` or `suite.<i>`.
    pub label: String,
    /// Globs. A pattern that matches no file is an error of the plan.
    pub patterns: Vec<String>,
}

/// Rows of text from a corpus part or from files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowsInput {
    /// A part of an artifact; the part's name is in the params too.
    Artifact(ArtifactRef),
    /// Files.
    Files(SourceGlob),
}

/// What a job does: references, file patterns, and the params of its steps.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "a spec has a handful of jobs, and each is lowered once")]
pub enum ResolvedJobBody {
    /// Step `data`.
    Data(DataBody),
    /// Step `tokenizer`.
    Tokenizer(TokenizerBody),
    /// Steps `tokens` (shared by corpus and tokenizer), one `sweep` an entry of `sweeps`, `fit`.
    Scaling(ScalingBody),
    /// Steps `tokens` (shared), `pretrain`.
    Pretrain(PretrainBody),
    /// Step `sft`.
    Sft(SftBody),
    /// Steps `preferences`, `reward_model`, `optimize`: those that are `Some`.
    Rlhf(RlhfBody),
    /// Step `eval`.
    Eval(EvalBody),
}

/// A data job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataBody {
    /// One for each source, label `sources.<name>`.
    pub files: Vec<SourceGlob>,
    /// The step.
    pub params: DataParams,
    /// For each filter of the step the place in `filters` where it is written: a pipeline's name stands for several.
    #[serde(skip)]
    pub filter_items: Vec<usize>,
}

/// A tokenizer job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenizerBody {
    /// Input `corpus`.
    pub corpus: ArtifactRef,
    /// Tokenizers to compare with, label `compare`; none where the job names none.
    pub files: Vec<SourceGlob>,
    /// The step.
    pub params: TokenizerParams,
}

/// A scaling job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScalingBody {
    /// Input `corpus` of the step `tokens`.
    pub corpus: ArtifactRef,
    /// Other corpora that its phases read, each behind an input `tokens.<i>` of the sweeps, from 1.
    pub other_corpora: Vec<ArtifactRef>,
    /// Input `tokenizer` of the steps `tokens`.
    pub tokenizer: ArtifactRef,
    /// One sweep step for each family and depth, families first. Their order is the order of `fit`'s inputs `sweep.<i>`.
    pub sweeps: Vec<SweepBody>,
    /// The step `fit`.
    pub fit: FitParams,
}

/// One family and depth of a scaling job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepBody {
    /// `transformer,2`: what stands in the step's name.
    pub key: String,
    /// The step.
    pub params: SweepParams,
}

/// A pretrain job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PretrainBody {
    /// Input `corpus` of the step `tokens`.
    pub corpus: ArtifactRef,
    /// Other corpora that its phases read, each behind an input `tokens.<i>` of the step, from 1.
    pub other_corpora: Vec<ArtifactRef>,
    /// Input `tokenizer` of all its steps.
    pub tokenizer: ArtifactRef,
    /// Input `law`, where a size, a token count or a forecast is from it.
    pub law: Option<ArtifactRef>,
    /// The step.
    pub params: PretrainParams,
}

/// An SFT job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SftBody {
    /// Input `model`.
    pub model: ArtifactRef,
    /// Input `adapter`, where training goes on from adapters beside the model.
    pub adapter: Option<ArtifactRef>,
    /// Input or files `data.<i>`, as many as `params.data_parts`.
    pub data: Vec<RowsInput>,
    /// The step.
    pub params: SftParams,
}

/// An RLHF job. With no stage all three steps run (the reward model measures the pairs also where DPO does not need it), except those whose result is given.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RlhfBody {
    /// Input `policy` of each step.
    pub policy: ArtifactRef,
    /// Input `adapter` of each step, where the policy is a model with adapters beside it.
    pub adapter: Option<ArtifactRef>,
    /// Input `prompts`, or files `prompts`: of `preferences`, and of `optimize` with ppo. None where no step reads prompts.
    pub prompts: Option<RowsInput>,
    /// Input `preferences` of later steps, where another job or a folder gives them.
    pub given_preferences: Option<ArtifactRef>,
    /// Input `reward_model` of later steps (or of the labeler), where another job or a folder gives it.
    pub given_reward_model: Option<ArtifactRef>,
    /// The step `preferences`.
    pub preferences: Option<PreferencesParams>,
    /// The step `reward_model`.
    pub reward_model: Option<RewardModelParams>,
    /// The step `optimize`.
    pub optimize: Option<OptimizeParams>,
}

/// An eval job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvalBody {
    /// Input `model.<name>` for each, as many as `params.models`.
    pub models: Vec<(String, ArtifactRef)>,
    /// Input or files `suite.<i>` of each suite, as many as `params.suites`.
    pub suites: Vec<RowsInput>,
    /// Inputs `train`, `train.1`, …: the corpora that trained the models, found by following their references. None where they are folders.
    pub train: Vec<ArtifactRef>,
    /// The step.
    pub params: EvalParams,
}

/// What is served.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Serve {
    /// The model.
    pub model: ArtifactRef,
    /// Where the server listens. Default: 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// The CEL expression that a model passes before it replaces the served one; none where every successful run's does.
    pub promote_if: Option<String>,
    /// Whether a person decides too. Default: none.
    pub approval: Approval,
}

/// A judge model behind an OpenAI-compatible API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    /// Its name.
    pub name: String,
    /// URL up to and with `/v1`.
    pub base_url: String,
    /// Model name.
    pub model: String,
    /// The key, by name; none where the endpoint needs none.
    pub api_key: Option<SecretRef>,
    /// Most US dollars that one run may spend; 0 is no limit.
    pub max_usd: f64,
    /// Sampling temperature.
    pub temperature: f64,
}

/// A secret by name: its value is looked up where it is used and is never in a spec, a log, an event or a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRef {
    /// The environment variable that holds it.
    pub name: String,
}
