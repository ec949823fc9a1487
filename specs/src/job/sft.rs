//! `kind: sft`: fine-tuning on chats.

pub(crate) mod resolve;
pub(crate) mod written;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BatchParams, CheckpointParams, LoraParams, OptimizerParams, Precision};

/// Resolved parameters of an `sft` step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftParams {
    /// The chat template by name; it must be the one that the tokenizer carries.
    pub template: String,
    /// Which tokens carry loss.
    pub train_on: TrainOn,
    /// Data sources in order: the part of the corpus for input `data.<i>` (`pairs`), empty for files.
    pub data_parts: Vec<String>,
    /// Passes over the data.
    pub epochs: f64,
    /// Share of the chats held out for validation where the data has no held-out part of its own.
    pub validation: f64,
    /// Tokens in a row; chats are packed best-fit and never see each other.
    pub context_length: u64,
    /// Optimisers.
    pub optimizer: OptimizerParams,
    /// Batch sizes.
    pub batch: BatchParams,
    /// Low-rank adapters; none trains every weight.
    pub lora: Option<LoraParams>,
    /// Number format.
    pub precision: Precision,
    /// When states are saved.
    pub checkpoint: CheckpointParams,
}

impl SftParams {
    /// Tokens of an optimiser step where the batch is automatic.
    pub const STEP_TOKENS: u64 = 4096;
}

/// Which tokens carry loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrainOn {
    /// The assistant's turns.
    Assistant,
    /// The assistant's last turn.
    LastAssistant,
    /// Every token.
    All,
}
