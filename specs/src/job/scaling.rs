//! `kind: scaling`: a sweep over sizes and token budgets, and the laws fitted to it.

pub(crate) mod resolve;
pub(crate) mod written;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BatchParams, ModelShape, OptimizerParams, Packing, PhaseParams, Precision};

/// Resolved parameters of a `sweep` step: one network shape, every token budget and learning rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepParams {
    /// The network.
    pub shape: ModelShape,
    /// Token budgets, as tokens a parameter (embedding matrices not counted).
    pub tokens_per_param: Vec<f64>,
    /// Token budgets as counts: the same at every size, so that size and tokens vary apart.
    pub tokens: Vec<u64>,
    /// Multiples of the automatic learning rate, or absolute rates: the best of each budget counts.
    pub lr: Vec<f64>,
    /// Optimisers.
    pub optimizer: OptimizerParams,
    /// Batch sizes.
    pub batch: BatchParams,
    /// Phases, as in a pretrain job, so that the law speaks of the same recipe.
    pub phases: Vec<PhaseParams>,
    /// Tokens in a row.
    pub context_length: u64,
    /// How documents fill the rows.
    pub packing: Packing,
    /// Whether the documents of a row do not see each other.
    pub document_mask: bool,
    /// Number format.
    pub precision: Precision,
}

/// Resolved parameters of a `fit` step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitParams {
    /// Which fits are made.
    pub methods: Vec<FitMethod>,
    /// What the recommendation is for.
    pub target: FitTarget,
    /// Tokens that the model will serve after training; 0 asks for the compute-optimal size.
    pub inference_tokens: f64,
}

/// How a law is fitted. Source: Hoffmann et al. (2022, arXiv:2203.15556), approaches 1 to 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FitMethod {
    /// Loss against size at equal compute, a parabola for each budget.
    Isoflop,
    /// L(N, D) = E + A/N^α + B/D^β.
    Parametric,
    /// The lower envelope of the curves, a power law in compute.
    Envelope,
}

/// What a recommendation is for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum FitTarget {
    /// The spec's budget: this many device-seconds at the throughput that the sweep measured.
    Budget {
        /// Seconds times devices.
        device_secs: f64,
    },
    /// This much compute.
    Flops {
        /// FLOPs.
        flops: f64,
    },
    /// A size and token count given by the user: only the loss is forecast.
    Point {
        /// Parameters, embedding matrices not counted.
        params: f64,
        /// Tokens.
        tokens: f64,
    },
}
