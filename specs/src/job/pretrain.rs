//! `kind: pretrain`: a base model from token shards.

mod model_shape;
pub(crate) mod resolve;
pub(crate) mod shape;
pub(crate) mod written;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use model_shape::{Activation, Family, LayerType, ModelFacts, ModelShape, ModelType, Part, RopeScaling};

use super::Precision;

/// Resolved parameters of a `pretrain` step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainParams {
    /// The network.
    pub model: ModelParams,
    /// How many tokens it sees.
    pub tokens: TokenBudget,
    /// Optimisers.
    pub optimizer: OptimizerParams,
    /// Batch sizes.
    pub batch: BatchParams,
    /// Mixture and learning rate by phase, in order; the last ends at 1.
    pub phases: Vec<PhaseParams>,
    /// Tokens in a row.
    pub context_length: u64,
    /// Number format.
    pub precision: Precision,
    /// When states are saved.
    pub checkpoint: CheckpointParams,
    /// When the model is evaluated on the way.
    pub evaluate: EvaluateParams,
    /// Whether the input `law` gives a forecast, written before training and scored after it.
    pub forecast: bool,
}

/// The network: by dial, by law or by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelParams {
    /// Every size by name.
    Shape(ModelShape),
    /// The size that the input `law` recommends (and its token count, with [`TokenBudget::FromLaw`]).
    Law {
        /// Which family's recommendation.
        family: Family,
    },
}

/// How many tokens a run sees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenBudget {
    /// A count.
    Count {
        /// Tokens.
        tokens: u64,
    },
    /// Tokens a parameter (embedding matrices not counted).
    PerParam {
        /// The ratio.
        ratio: f64,
    },
    /// What the input `law` recommends.
    FromLaw,
}

/// A value that a published rule may choose; the rule and the value are recorded in `training.json`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoOr<T> {
    /// The rule chooses.
    Auto,
    /// This value.
    Value(T),
}

/// Optimisers. Muon: Jordan (2024); its update for the hidden matrices, AdamW for embeddings, head and vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerParams {
    /// Optimiser of the hidden matrices; the rest is AdamW's.
    pub matrices: MatrixOptimizer,
    /// Peak learning rate of AdamW's parameters.
    pub lr: AutoOr<f64>,
    /// Peak learning rate of Muon's parameters.
    pub matrix_lr: AutoOr<f64>,
    /// Decoupled weight decay of the hidden matrices.
    pub weight_decay: f64,
    /// AdamW's betas.
    pub betas: [f64; 2],
    /// AdamW's epsilon.
    pub eps: f64,
    /// Global gradient norm above which gradients are scaled down; 0 is off.
    pub grad_clip: f64,
    /// Linear warm-up, share of all optimiser steps.
    pub warmup: f64,
    /// Bad steps, and returns to before several of them, that a run may have; 0 fails at the first.
    pub max_setbacks: u64,
    /// Standard deviations above the mean of the last 128 losses from which on a step is bad; 0 is off.
    pub spike_sigma: f64,
}

/// Optimiser of the hidden matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MatrixOptimizer {
    /// Momentum orthogonalised by Newton–Schulz.
    Muon,
    /// AdamW.
    Adamw,
}

/// Batch sizes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchParams {
    /// Tokens an optimiser step.
    pub global_tokens: AutoOr<u64>,
    /// Rows a forward pass. In the fingerprint, since another accumulation order gives other bits.
    pub micro_batch: AutoOr<u64>,
}

/// One phase of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseParams {
    /// Where the phase ends, share of all tokens.
    pub until: f64,
    /// Sampling weight by domain; sums to 1.
    pub weights: BTreeMap<String, f64>,
    /// Learning rate within the phase.
    pub lr: LrShape,
}

/// Learning rate within a phase, relative to the peak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LrShape {
    /// Stays.
    Constant,
    /// Falls linearly to zero at the phase's end.
    LinearToZero,
    /// Falls along a cosine to a tenth at the phase's end.
    Cosine,
}

/// When states are saved.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointParams {
    /// Seconds between checkpoints; 0 is off. Not in the fingerprint.
    pub every_secs: f64,
    /// Optimiser steps between checkpoints; 0 is off. Not in the fingerprint.
    pub every_steps: u64,
    /// How many are kept. Not in the fingerprint.
    pub keep: u64,
}

/// When a model is evaluated while it trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluateParams {
    /// Optimiser steps between evaluations; 0 evaluates only at the end.
    pub every_steps: u64,
    /// Texts sampled at each evaluation.
    pub samples: u64,
    /// Most validation tokens that an evaluation on the way reads; the last one reads all. 0 reads all.
    pub max_tokens: u64,
}
