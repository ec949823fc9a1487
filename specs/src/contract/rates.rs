//! How fast a machine does the parts of a training step: what `cupola-worker rates` measures and a plan reckons times with.

use serde::{Deserialize, Serialize};

use crate::job::{Device, Precision};

/// On what something was measured: rates of one are not those of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesKey {
    /// Name of the processor, or of the CUDA device.
    pub hardware: String,
    /// Where tensors live; never `auto`.
    pub device: Device,
    /// Threads.
    pub threads: u32,
    /// Processes that did so at the same time, as the ranks of a step on one machine do.
    pub ranks: u32,
    /// Number format of the products.
    pub precision: Precision,
    /// Version of the program.
    pub version: String,
}

impl RatesKey {
    /// The key as one word, for a table of them.
    pub fn name(&self) -> String {
        let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let (device, precision) = (serde_json::json!(self.device), serde_json::json!(self.precision));
        let (device, precision) = (word(device), word(precision));
        format!("{}|{device}|{}×{}|{precision}|{}", self.hardware, self.ranks, self.threads, self.version)
    }
}

/// A rate at a size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateAt {
    /// The size, in the unit that its list says.
    pub size: f64,
    /// The rate, in the unit that its list says.
    pub rate: f64,
}

/// Fused attention at a width of heads and a length of rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionRate {
    /// Width of a head.
    pub head_dim: f64,
    /// Tokens of a row.
    pub row_tokens: f64,
    /// FLOP/s of forward and backward by the model's arithmetic: 12·D for each key that a token sees.
    pub rate: f64,
}

/// An LSTM layer at a width and a number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecurrentRate {
    /// Width.
    pub width: f64,
    /// Rows that go through it at once.
    pub rows: f64,
    /// FLOP/s of forward and backward: 48·C² for a token.
    pub rate: f64,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineRates {
    /// Products of `[2048, s]` and `[s, s]`, the way forward and to inputs' gradients: s, FLOP/s.
    pub products: Vec<RateAt>,
    /// Products of `[s, 2048]` and `[2048, s]`, weights' gradients: s, FLOP/s.
    pub gradients: Vec<RateAt>,
    /// Sums of two fp32 tensors into a third: bytes of one, bytes a second of all three.
    pub streams: Vec<RateAt>,
    /// Cross-entropy of fp32 logits, forward and backward: vocabulary, logits a second.
    pub losses: Vec<RateAt>,
    /// SiLU of the number format, forward and backward: elements, elements a second.
    pub activations: Vec<RateAt>,
    /// Fused attention.
    pub attention: Vec<AttentionRate>,
    /// LSTM layers.
    pub recurrent: Vec<RecurrentRate>,
    /// Seconds of an operation on next to nothing, its backward apart.
    pub operation_secs: f64,
}
