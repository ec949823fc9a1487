//! Resolved optimisers, and the words that they are written in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A value that a rule may choose; the rule and the value are recorded in `training.json`. `auto` is this project's own rule, a word of `R`
/// a published one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoOr<T, R = NoRule> {
    /// The project's rule chooses.
    Auto,
    /// This value.
    Value(T),
    /// A published rule chooses.
    #[serde(untagged)]
    Rule(R),
}

impl<T> AutoOr<T> {
    /// The value, where one is given.
    pub fn given(self) -> Option<T> {
        match self {
            Self::Auto => None,
            Self::Value(value) => Some(value),
        }
    }
}

/// A value, or the published rule that chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleOr<T, R> {
    /// This value.
    Value(T),
    /// The rule chooses.
    #[serde(untagged)]
    Rule(R),
}

/// No published rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoRule {}

/// A published rule for the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LrRule {
    /// 0.3118 · C^-0.125 of the compute C without embeddings and head (DeepSeek LLM, 2024, arXiv:2401.02954).
    Deepseek,
}

/// A published rule for the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchRule {
    /// 0.292 · C^0.3271 tokens of the compute C without embeddings and head (DeepSeek LLM, 2024, arXiv:2401.02954).
    Deepseek,
    /// 0.0306 · D^0.383 rows of 2,048 tokens for D tokens (Power Lines, 2025, arXiv:2505.13738).
    PowerLines,
}

/// A published rule for the weight decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecayRule {
    /// B / (lr · D · τ) with τ = 1.084 · (D/N)^-0.527 of the run (Power Lines, 2025, arXiv:2505.13738); for AdamW.
    PowerLines,
}

/// Optimiser of the hidden matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MatrixOptimizer {
    /// Momentum made orthogonal.
    Muon,
    /// AdamW.
    Adamw,
    /// Stochastic gradient descent with momentum.
    Sgd,
}

/// Optimiser of embeddings, head and vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtherOptimizer {
    /// AdamW.
    Adamw,
    /// Stochastic gradient descent with momentum.
    Sgd,
}

/// How Muon makes its momentum orthogonal, in five rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Orthogonalization {
    /// The best polynomial of each round: singular values go to 1 (Amsel et al. 2025, arXiv:2505.16932).
    PolarExpress,
    /// One polynomial five times: singular values go to about 0.7 to 1.2 (Jordan 2024). For runs that must be like those of older recipes.
    NewtonSchulz,
}

/// How start and rates follow from the width and the depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Parametrization {
    /// One rate for all of an optimiser's weights.
    Standard,
    /// Rates stay right at every width (Yang et al. 2022, arXiv:2203.03466).
    Mup,
    /// Rates stay right at every width and depth (Dey et al. 2025, arXiv:2505.01618).
    Completep,
}

/// How the weight decay goes over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecayShape {
    /// Stays.
    Constant,
    /// Goes linearly to `weight_decay_final` at the run's end.
    Linear,
    /// Goes along a cosine to `weight_decay_final` at the run's end.
    Cosine,
}

/// A length of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// A share of all optimiser steps.
    Share(f64),
    /// Optimiser steps.
    Steps(u64),
}

/// Optimisers. The embeddings, the head and the vectors are never Muon's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerParams {
    /// Optimiser of the hidden matrices.
    pub matrices: MatrixOptimizer,
    /// Optimiser of the rest.
    pub others: OtherOptimizer,
    /// Peak learning rate of the rest, and of hidden matrices with the same optimiser.
    pub lr: AutoOr<f64, LrRule>,
    /// Peak learning rate of hidden matrices with an optimiser of their own.
    pub matrix_lr: AutoOr<f64>,
    /// Decoupled weight decay of the hidden matrices.
    pub weight_decay: RuleOr<f64, DecayRule>,
    /// How it goes over the run.
    pub weight_decay_schedule: DecayShape,
    /// Factor of it at the run's end.
    pub weight_decay_final: f64,
    /// AdamW's betas.
    pub betas: [f64; 2],
    /// AdamW's epsilon.
    pub eps: f64,
    /// Momentum of Muon and of gradient descent.
    pub momentum: f64,
    /// Whether they look one step ahead.
    pub nesterov: bool,
    /// How the momentum begins; 0 steps are none.
    pub momentum_warmup: MomentumWarmup,
    /// How Muon makes matrices orthogonal.
    pub orthogonalization: Orthogonalization,
    /// Weights by name with a rate or a decay of their own.
    pub groups: Vec<GroupParams>,
    /// Global gradient norm above which gradients are scaled down; 0 is off.
    pub grad_clip: f64,
    /// Linear warm-up of the rates.
    pub warmup: Span,
    /// Factor of the squared logarithm of the softmax's normaliser in what is trained; 0 is off.
    pub z_loss: f64,
    /// How rates follow from width and depth.
    pub parametrization: Parametrization,
    /// Width at which the rates hold as they are written.
    pub base_width: u64,
    /// Depth at which they do.
    pub base_depth: u64,
    /// Average of the weights, which then is the result.
    pub ema: Option<EmaParams>,
    /// Bad steps, and returns to before several of them, that a run may have; 0 fails at the first.
    pub max_setbacks: u64,
    /// Standard deviations above the mean of the last 128 losses from which on a step is bad; 0 is off.
    pub spike_sigma: f64,
}

/// A momentum that rises linearly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MomentumWarmup {
    /// Where it begins.
    pub from: f64,
    /// Optimiser steps until it is there.
    pub steps: u64,
}

/// Weights by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupParams {
    /// Their names, `*` for any letters.
    pub pattern: String,
    /// Their peak learning rate, where it is another one.
    pub lr: Option<f64>,
    /// Their decoupled weight decay, where it is another one.
    pub weight_decay: Option<f64>,
}

/// A moving average of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmaParams {
    /// What is left of the average when weights are taken in.
    pub decay: f64,
    /// Optimiser steps between two times.
    pub every_steps: u64,
}

/// Those of a pretrain job where nothing is written.
impl Default for OptimizerParams {
    fn default() -> Self {
        Self {
            matrices: MatrixOptimizer::Muon,
            others: OtherOptimizer::Adamw,
            lr: AutoOr::Auto,
            matrix_lr: AutoOr::Auto,
            weight_decay: RuleOr::Value(0.1),
            weight_decay_schedule: DecayShape::Constant,
            weight_decay_final: 1.0,
            betas: [0.8, 0.95],
            eps: 1e-8,
            momentum: 0.95,
            nesterov: true,
            momentum_warmup: MomentumWarmup { from: 0.85, steps: 300 },
            orthogonalization: Orthogonalization::PolarExpress,
            groups: Vec::new(),
            grad_clip: 1.0,
            warmup: Span::Share(0.02),
            z_loss: 0.0,
            parametrization: Parametrization::Standard,
            base_width: 256,
            base_depth: 4,
            ema: None,
            max_setbacks: 8,
            spike_sigma: 0.0,
        }
    }
}
