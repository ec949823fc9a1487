//! `kind: rlhf`: preferences, a reward model, and a policy aligned with them.

pub(crate) mod resolve;
pub(crate) mod written;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BatchParams, CheckpointParams, LoraParams, OptimizerParams, Precision};

/// Resolved parameters of a `preferences` step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreferencesParams {
    /// The part of the input `prompts` (`pairs`), empty for files.
    pub prompts_part: String,
    /// Pairs wanted; ties are dropped and more prompts drawn until there are so many or no prompt is left.
    pub pairs: u64,
    /// Share of the pairs held out to measure the reward model.
    pub validation: f64,
    /// Who decides.
    pub labeler: Labeler,
    /// Answers a prompt; the best and the worst make the pair.
    pub samples: u64,
    /// Sampling temperature.
    pub temperature: f64,
    /// Longest answer, tokens.
    pub max_new_tokens: u64,
    /// Smallest difference of the labeler's score that is not a tie.
    pub min_margin: f64,
    /// Number format of sampling.
    pub precision: Precision,
}

/// Who decides which answer is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Labeler {
    /// The answer nearer to the reference text, by ROUGE-L.
    Reference,
    /// A reward model.
    RewardModel,
    /// A judge model behind an API.
    Judge,
    /// People, on a page.
    Human,
}

/// Resolved parameters of a `reward_model` step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardModelParams {
    /// Passes over the pairs.
    pub epochs: f64,
    /// Optimisers.
    pub optimizer: OptimizerParams,
    /// Batch sizes; `global_tokens` counts both answers.
    pub batch: BatchParams,
    /// Longest prompt and answer, tokens.
    pub context_length: u64,
    /// Low-rank adapters; none trains every weight.
    pub lora: Option<LoraParams>,
    /// Number format.
    pub precision: Precision,
    /// When states are saved.
    pub checkpoint: CheckpointParams,
}

impl RewardModelParams {
    /// Tokens of an optimiser step where the batch is automatic.
    pub const STEP_TOKENS: u64 = 8192;
}

/// Resolved parameters of an `optimize` step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizeParams {
    /// The algorithm.
    pub method: Method,
    /// Strength of the pull to the reference policy: DPO's and IPO's β, PPO's KL coefficient.
    pub beta: f64,
    /// Whether each answer's log-ratio is divided by its tokens (dpo, ipo).
    pub length_normalized: bool,
    /// Passes over the pairs (dpo, ipo), or PPO epochs over a rollout.
    pub epochs: f64,
    /// The part of the input `prompts` (`pairs`), empty for files.
    pub prompts_part: String,
    /// Rollouts in all (ppo).
    pub rollouts: u64,
    /// Rollouts between updates (ppo).
    pub rollout_batch: u64,
    /// Sampling temperature of rollouts (ppo).
    pub temperature: f64,
    /// Longest answer, tokens (ppo).
    pub max_new_tokens: u64,
    /// PPO's clip range.
    pub clip: f64,
    /// Optimisers.
    pub optimizer: OptimizerParams,
    /// Batch sizes; `global_tokens` counts both answers.
    pub batch: BatchParams,
    /// Longest prompt and answer, tokens.
    pub context_length: u64,
    /// Low-rank adapters; none trains every weight.
    pub lora: Option<LoraParams>,
    /// Number format.
    pub precision: Precision,
    /// When states are saved.
    pub checkpoint: CheckpointParams,
}

impl OptimizeParams {
    /// Tokens of an optimiser step where the batch is automatic.
    pub const STEP_TOKENS: u64 = 8192;
}

/// An alignment algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Direct preference optimisation (2023, arXiv:2305.18290).
    Dpo,
    /// Identity preference optimisation (2023, arXiv:2310.12036).
    Ipo,
    /// Kahneman–Tversky optimisation (2024, arXiv:2402.01306).
    Kto,
    /// Proximal policy optimisation (2017, arXiv:1707.06347) against the reward model.
    Ppo,
    /// Group-relative policy optimisation (2024, arXiv:2402.03300).
    Grpo,
    /// The best of n samples by the reward model.
    BestOfN,
    /// Fine-tuning on the chosen answers.
    Direct,
}
