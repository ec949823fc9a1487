//! `kind: pretrain`: a base model from token shards.

mod batch_rule;
mod model_shape;
mod model_size;
pub(crate) mod optimizer;
pub(crate) mod optimizer_resolve;
pub(crate) mod optimizer_written;
pub(crate) mod phases;
pub(crate) mod resolve;
pub(crate) mod rows;
pub(crate) mod shape;
pub(crate) mod written;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use batch_rule::{Batch, BatchChoice, RunSize};
pub use model_size::Product;

pub use model_shape::{Activation, Family, LayerType, ModelFacts, ModelShape, ModelType, Part, RopeScaling};

use super::Precision;

pub use optimizer::{
    AutoOr, BatchRule, DecayRule, DecayShape, EmaParams, GroupParams, LrRule, MatrixOptimizer,
    MomentumWarmup, NoRule, OptimizerParams, Orthogonalization, OtherOptimizer, Parametrization, RuleOr,
    Span,
};

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
    /// How documents fill the rows.
    pub packing: Packing,
    /// Whether the documents of a row do not see each other.
    pub document_mask: bool,
    /// Longer rows at the end of the run.
    pub extend: Option<ExtendParams>,
    /// Most passes over a domain's rows.
    pub max_epochs: Option<f64>,
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

/// Batch sizes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchParams {
    /// Tokens an optimiser step.
    pub global_tokens: AutoOr<u64, BatchRule>,
    /// Rows a forward pass. In the fingerprint, since another accumulation order gives other bits.
    pub micro_batch: AutoOr<u64>,
}

/// One phase of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseParams {
    /// Where the phase ends, share of all tokens.
    pub until: f64,
    /// Sampling weight by domain of the job's corpus; sums to 1. Empty where other corpora are all that the phase reads, and where the corpus's own weights hold, which its step
    /// fitted.
    pub weights: BTreeMap<String, f64>,
    /// Other corpora; the job's own has the rest of their shares.
    pub corpora: Vec<PhaseCorpus>,
    /// Learning rate within the phase.
    pub lr: LrShape,
    /// Factor of the peak where the phase ends, of the shapes that fall to a factor; 0 for the others.
    pub lr_final: f64,
}

/// Another corpus that a phase reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseCorpus {
    /// Its place among the step's inputs: `tokens.<input>`, from 1.
    pub input: u64,
    /// Its share of the phase's rows.
    pub share: f64,
    /// Sampling weight by its domains; sums to 1. Empty where its own weights hold, which its step fitted.
    pub weights: BTreeMap<String, f64>,
}

/// How documents fill rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// One after the other, cut where a row is full.
    Concat,
    /// Whole wherever they fit: each goes to the fullest row with room for it, the longest first. Ding et al. (2024, arXiv:2404.10830).
    BestFit,
}

/// Longer rows at the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendParams {
    /// Tokens in a row, a multiple of those before.
    pub length: u64,
    /// Share of all tokens.
    pub tokens: f64,
    /// What becomes of RoPE.
    pub rope: RopeExtension,
}

/// What becomes of RoPE where rows get longer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum RopeExtension {
    /// Its base grows so that the slowest rotation is as much slower as rows are longer: θ·s^(D/(D−2)). Peng et al. (2023,
    /// arXiv:2309.00071, section 3.1).
    Stretched,
    /// Its base becomes this one.
    Theta {
        /// The base.
        theta: f64,
    },
    /// Its frequencies are stretched.
    Scaling {
        /// How.
        scaling: RopeScaling,
    },
}

/// Learning rate within a phase, as a factor of the peak. A phase begins where the one before it ended, and the first one behind the
/// warm-up. Warm-up, `constant`, then `linear_to_zero` or `one_minus_sqrt` is the schedule known as WSD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LrShape {
    /// Stays.
    Constant,
    /// Falls linearly to zero at the phase's end.
    LinearToZero,
    /// Falls along a cosine to `lr_final`, a tenth where nothing is written, at the phase's end.
    Cosine,
    /// Moves linearly to `lr_final`, a tenth where nothing is written, at the phase's end.
    Linear,
    /// Falls by 1 - √share of the phase to `lr_final`, zero where nothing is written, at the phase's end.
    OneMinusSqrt,
    /// Falls with 1/√step from the end of the warm-up, or of the phase before, on.
    InverseSqrt,
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
