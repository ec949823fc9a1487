//! Files of a `model`: a Hugging Face folder (`config.json`, `model.safetensors`, `generation_config.json`, the tokenizer's
//! files), `training.json` ([`TrainingRecord`]) and `seal.json` ([`Seal`](super::Seal)).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Forecast, Interval};
use crate::job::LrShape;

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The text.
    pub content: String,
    /// What an assistant asks tools to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Whose answer a tool's is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What an assistant asks of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ToolCall {
    /// What the tool's answer names.
    pub id: String,
    /// `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The function.
    pub function: FunctionCall,
}

/// A function with its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FunctionCall {
    /// The function's name.
    pub name: String,
    /// Its arguments by name.
    pub arguments: serde_json::Map<String, serde_json::Value>,
}

impl ChatMessage {
    /// A text of a role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), ..Self::default() }
    }
}

/// `training.json`: how a model was made. Wall-clock facts are not in it: it is byte-identical after any resume.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TrainingRecord {
    /// `pretrain`, `sft`, `reward_model`, `dpo`, `ppo`, …
    pub stage: String,
    /// Parameters in all.
    pub total_params: u64,
    /// Parameters, embedding matrices not counted.
    pub params: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Training tokens.
    pub tokens: u64,
    /// Training compute.
    pub flops: f64,
    /// Position in the data order at the end, rows.
    pub data_cursor: u64,
    /// Optimiser steps that were left out, since their loss was no number or rose too far.
    #[serde(default)]
    pub left_out: Vec<u64>,
    /// What was wrong with the bad ones among them, and the data that they read.
    #[serde(default)]
    pub bad_steps: Vec<BadStep>,
    /// Optimiser steps that the weights have seen: `steps`, or those of the best state.
    #[serde(default)]
    pub exported_step: u64,
    /// Stretches of the run with one mixture, one rate and one row length, in order; only of runs on token shards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<PhaseRecord>,
    /// What was read of each domain; only of runs on token shards.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub domains: BTreeMap<String, DomainRecord>,
    /// What `auto` chose and by which rule: name to (rule, value).
    pub chosen: BTreeMap<String, (String, f64)>,
    /// Curves by metric.
    pub curves: BTreeMap<String, Vec<CurvePoint>>,
    /// Final numbers by name (`validation_loss`, `validation_bpb`, `accuracy`), with intervals where there is one.
    pub finals: BTreeMap<String, Interval>,
    /// The forecast and how it did.
    pub forecast: Option<ForecastScore>,
    /// Warnings by code: how often.
    pub warnings: BTreeMap<String, u64>,
}

/// An optimiser step whose loss or gradient was no number, or whose loss rose too far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadStep {
    /// The step, from 0.
    pub step: u64,
    /// What was wrong with it.
    pub reason: String,
    /// The micro-batch that gave it away; none where only the whole step was bad.
    pub micro_batch: Option<u64>,
    /// Rows of data that this micro-batch, or the whole step, read.
    pub num_rows: u64,
    /// Names of the first of them.
    pub rows: Vec<String>,
}

/// A stretch of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// Its first optimiser step.
    pub begin_step: u64,
    /// The step where it ends (not in it).
    pub end_step: u64,
    /// Tokens in a row.
    pub context_length: u64,
    /// Rows of an optimiser step.
    pub step_rows: u64,
    /// Sampling weight by domain.
    pub weights: BTreeMap<String, f64>,
    /// Learning rate within the phase of the spec that the stretch belongs to.
    pub lr: LrShape,
    /// Factor of the peak at that phase's end.
    pub lr_final: f64,
}

/// What a run reads of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DomainRecord {
    /// Tokens that there are.
    pub num_tokens: u64,
    /// How often the run goes through them.
    pub epochs: f64,
    /// Share of its rows' places that hold no token.
    pub padding: f64,
}

/// One point of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Optimiser step.
    pub step: u64,
    /// Value; a NaN is written as null and reads as NaN.
    #[serde(with = "crate::contract::nan_as_null")]
    pub value: f64,
}

/// A forecast beside the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForecastScore {
    /// What was written before the run.
    pub forecast: Forecast,
    /// Measured validation loss, nats a token.
    pub actual: f64,
    /// (actual − forecast) / forecast.
    pub relative_error: f64,
    /// Whether the interval holds the result.
    pub within_interval: bool,
}
