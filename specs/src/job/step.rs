//! The closed set of steps: what one worker process runs.

use serde::{Deserialize, Serialize};

use super::{
    AutoOr, DataParams, EvalParams, FitParams, OptimizeParams, PreferencesParams, PretrainParams,
    RewardModelParams, SftParams, SweepParams, TokenizerParams, TokensParams,
};

/// The resolved parameters of one step. The input roles that each one reads are in its doc line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
pub enum StepParams {
    /// Curates source files into a corpus. Files: label `sources.<name>`. Writes a `corpus`.
    Data(DataParams),
    /// Trains a tokenizer. Input `corpus`. Files: label `compare`. Writes a `tokenizer`.
    Tokenizer(TokenizerParams),
    /// Encodes a corpus into memory-mapped token shards. Inputs `corpus`, `tokenizer`. Writes `tokens`.
    Tokens(TokensParams),
    /// Trains every grid point of one family and depth. Inputs `tokens` and, where phases read other corpora, `tokens.1`, …. Writes a `sweep`.
    Sweep(SweepParams),
    /// Fits scaling laws to sweeps. Inputs `sweep.0`, `sweep.1`, … Writes a `law`.
    Fit(FitParams),
    /// Trains a base model. Inputs `tokens`, `tokenizer`, where phases read other corpora `tokens.1`, …, and where a size or a forecast comes
    /// from it `law`. Writes a `model`.
    Pretrain(PretrainParams),
    /// Fine-tunes on chats. Inputs `model`, `adapter` where it goes on from adapters, and `data.<i>` where data comes from a corpus. Files: label `data.<i>`. Writes a `model`.
    Sft(SftParams),
    /// Samples and labels answer pairs. Inputs `policy`, `adapter` where it stands beside that, and `prompts` where they come from a corpus. Files: label `prompts`.
    /// Input `reward_model` with that labeler. Writes `preferences`.
    Preferences(PreferencesParams),
    /// Trains a Bradley–Terry reward model. Inputs `policy` (initial weights), `adapter` (initial adapters), `preferences`. Writes a `model` with a score head.
    RewardModel(RewardModelParams),
    /// Aligns a policy. Inputs `policy`, `adapter` (initial adapters), `preferences` (dpo, ipo) or `reward_model` and `prompts` (ppo). Writes a `model`.
    Optimize(OptimizeParams),
    /// Evaluates models. Inputs `model.<name>` for each model and `suite.<i>` where a suite reads a corpus; `train`,
    /// `train.1`, … are the corpora that trained the models (contamination). Files: label `suite.<i>`. Writes a `report`.
    Eval(EvalParams),
}

/// A step's kind by name; also the folder of its artifact in the store is [`StepKind::artifact_kind`].
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Curation.
    Data,
    /// Tokenizer training.
    Tokenizer,
    /// Corpus encoding.
    Tokens,
    /// Scaling runs of one family and depth.
    Sweep,
    /// Scaling-law fit.
    Fit,
    /// Base-model training.
    Pretrain,
    /// Supervised fine-tuning.
    Sft,
    /// Preference sampling and labelling.
    Preferences,
    /// Reward-model training.
    RewardModel,
    /// Policy optimisation.
    Optimize,
    /// Evaluation.
    Eval,
}

impl StepKind {
    /// The kind's name in plans, events and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Tokenizer => "tokenizer",
            Self::Tokens => "tokens",
            Self::Sweep => "sweep",
            Self::Fit => "fit",
            Self::Pretrain => "pretrain",
            Self::Sft => "sft",
            Self::Preferences => "preferences",
            Self::RewardModel => "reward_model",
            Self::Optimize => "optimize",
            Self::Eval => "eval",
        }
    }

    /// The kind of artifact that a step of this kind commits, and the folder in the store.
    pub fn artifact_kind(self) -> &'static str {
        match self {
            Self::Data => "corpus",
            Self::Tokenizer => "tokenizer",
            Self::Tokens => "tokens",
            Self::Sweep => "sweep",
            Self::Fit => "law",
            Self::Pretrain | Self::Sft | Self::Optimize => "model",
            Self::RewardModel => "reward_model",
            Self::Preferences => "preferences",
            Self::Eval => "report",
        }
    }

    /// The version of the code behind this kind: raised whenever the same parameters and inputs may give other bytes.
    pub fn code_version(self) -> u32 {
        match self {
            Self::Fit => 1,
            Self::Data | Self::Tokenizer | Self::Tokens => 3,
            Self::Preferences | Self::Eval => 4,
            Self::Sft | Self::RewardModel => 5,
            Self::Optimize => 6,
            Self::Sweep | Self::Pretrain => 7,
        }
    }
}

impl StepParams {
    /// What tells the longer of two steps that may start side by side; 0 where nothing is known before a run.
    pub fn relative_work(&self) -> u64 {
        match self {
            Self::Sweep(params) => {
                let matrices = params.shape.num_hidden_layers * params.shape.hidden_size.pow(2);
                let per_param: f64 = params.tokens_per_param.iter().sum();
                let tokens = params.tokens.iter().sum::<u64>() as f64 + per_param * matrices as f64;
                (matrices as f64 * tokens * params.lr.len() as f64) as u64
            }
            _ => 0,
        }
    }

    /// How often the micro-batch of this step can be halved, as far as that is known before it runs; 0 where it has none.
    pub fn most_halvings(&self) -> u32 {
        let batch = match self {
            Self::Sweep(params) => params.batch,
            Self::Pretrain(params) => params.batch,
            Self::Sft(params) => params.batch,
            Self::RewardModel(params) => params.batch,
            Self::Optimize(params) => params.batch,
            _ => return 0,
        };
        match batch.micro_batch {
            // One more shows that there is nothing left to halve.
            AutoOr::Value(rows) => rows.max(1).ilog2() + 1,
            AutoOr::Auto => 8,
        }
    }

    /// The kind of this step.
    pub fn kind(&self) -> StepKind {
        match self {
            Self::Data(_) => StepKind::Data,
            Self::Tokenizer(_) => StepKind::Tokenizer,
            Self::Tokens(_) => StepKind::Tokens,
            Self::Sweep(_) => StepKind::Sweep,
            Self::Fit(_) => StepKind::Fit,
            Self::Pretrain(_) => StepKind::Pretrain,
            Self::Sft(_) => StepKind::Sft,
            Self::Preferences(_) => StepKind::Preferences,
            Self::RewardModel(_) => StepKind::RewardModel,
            Self::Optimize(_) => StepKind::Optimize,
            Self::Eval(_) => StepKind::Eval,
        }
    }
}

/// Where tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// A CUDA device where there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The first visible CUDA device; an error where there is none.
    Cuda,
}

/// The number format of the matrix products; masters and optimiser state are always fp32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// bf16 where the device multiplies it fast, else fp32. Resolved by the orchestrator before fingerprinting.
    Auto,
    /// 32-bit floats.
    Fp32,
    /// bfloat16 products with fp32 masters.
    Bf16,
}
