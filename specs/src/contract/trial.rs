//! A few passes of a training on random tokens: what `cupola-worker trial` times and a plan reckons the time of that very training with.

use serde::{Deserialize, Serialize};

use crate::job::{Device, LoraConfig, MatrixOptimizer, ModelShape, OtherOptimizer, Precision, Recompute};

/// Which loss a trial has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialLoss {
    /// Next tokens.
    Language,
    /// Next tokens, with the z-loss.
    LanguageZ,
    /// Trained tokens of packed chats, or of packed pairs of answers.
    Chats,
    /// Scores of packed sequences.
    Scores,
}

/// What is tried: everything that the time of a pass or of an update depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The loss.
    pub loss: TrialLoss,
    /// The network.
    pub shape: ModelShape,
    /// Size of the vocabulary.
    pub vocab_size: u64,
    /// Where tensors live; never `auto`.
    pub device: Device,
    /// Threads of a rank.
    pub threads: u32,
    /// Number format of the products.
    pub precision: Precision,
    /// What backward computes again.
    pub recompute: Recompute,
    /// Rows of a pass.
    pub rows: u64,
    /// Tokens of a row.
    pub row_tokens: u64,
    /// Whether rows hold documents that do not see each other.
    pub is_masked: bool,
    /// Share of the tokens that go through the head, in percent.
    pub loss_percent: u32,
    /// Optimiser of hidden matrices.
    pub matrices: MatrixOptimizer,
    /// Optimiser of the rest.
    pub others: OtherOptimizer,
    /// Whether an average of the weights is kept.
    pub has_ema: bool,
    /// Adapters, where only they train.
    pub lora: Option<LoraConfig>,
}

/// What a trial took, at the median.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialSecs {
    /// Seconds of a pass forward alone, as an evaluation has it.
    pub forward: f64,
    /// Seconds of a pass forward and backward.
    pub pass: f64,
    /// Seconds of the norm of the gradients and of the optimisers' step.
    pub update: f64,
}
