//! `kind: pretrain`: a base model from token shards.

pub(crate) mod resolve;
pub(crate) mod shape;
pub(crate) mod written;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Which state's weights become the model.
    pub export: Export,
    /// By which number the best state is found, where it becomes the model.
    pub best_metric: BestMetric,
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

/// Every size of a network. `vocab_size` comes with the tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// Which network.
    pub family: Family,
    /// Layers.
    pub num_hidden_layers: u64,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Width of the feed-forward layer.
    pub intermediate_size: u64,
    /// Query heads.
    pub num_attention_heads: u64,
    /// Key and value heads.
    pub num_key_value_heads: u64,
    /// Feed-forward activation.
    pub activation: Activation,
    /// RMS norm on queries and keys.
    pub qk_norm: bool,
    /// One matrix for input and output embeddings.
    pub tie_word_embeddings: bool,
    /// RoPE's base.
    pub rope_theta: f64,
    /// Longest context that the config states.
    pub max_position_embeddings: u64,
}

/// A family of networks; each is one file in `runtime/src/model/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Decoder-only transformer.
    Transformer,
    /// Stacked LSTM.
    Lstm,
}

/// Feed-forward activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// SiLU-gated linear unit.
    Swiglu,
    /// Squared ReLU.
    Relu2,
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
    /// How many of the newest are kept. Not in the fingerprint.
    pub keep: u64,
    /// Which are kept beside them. Not in the fingerprint.
    pub keep_best: Option<KeepBest>,
}

/// States that are kept since the model was best there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepBest {
    /// By which number.
    pub metric: BestMetric,
    /// How many.
    pub count: u64,
}

/// A number of the evaluations on the way that tells better states from worse ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BestMetric {
    /// Bits a byte of held-out text: less is better.
    ValidationBpb,
    /// Nats a token of held-out text: less is better.
    ValidationLoss,
}

impl BestMetric {
    /// The metric's name in events and curves.
    pub fn name(self) -> &'static str {
        match self {
            Self::ValidationBpb => "validation_bpb",
            Self::ValidationLoss => "validation_loss",
        }
    }

    /// Whether one value is better than another; a NaN never is.
    pub fn is_better(self, value: f64, than: f64) -> bool {
        match self {
            Self::ValidationBpb | Self::ValidationLoss => value < than || (than.is_nan() && !value.is_nan()),
        }
    }
}

/// Which state's weights become the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Export {
    /// The last one's.
    Last,
    /// Those of the evaluation on the way that was best, by `keep_best.metric`; the last step is evaluated too, and an earlier one wins a tie.
    Best,
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
