//! A training as the estimators see it: one network, its passes and its steps, from what the plan knows of a step.
//!
//! It is kept with a step in the journal, so that a run that ended says by how much an estimate of its like was off.

use cupola_specs::contract::{Trial, TrialLoss};
use cupola_specs::job::{
    Device, LoraConfig, MatrixOptimizer, ModelShape, OtherOptimizer, Precision, Recompute,
};
use serde::{Deserialize, Serialize};

use super::rates::RatesOf;

/// What trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Next tokens: pretraining and runs of a sweep.
    Language,
    /// Chats.
    Chats,
    /// Pairs of answers, by a score head.
    Reward,
    /// Pairs of answers, by their log-probabilities.
    Pairs,
    /// Rollouts.
    Ppo {
        /// Whether the reference is a copy of the network: not its weights without adapters.
        has_copy: bool,
    },
}

/// One training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Training {
    pub(crate) stage: Stage,
    pub(crate) shape: ModelShape,
    pub(crate) vocab_size: u64,
    pub(crate) precision: Precision,
    pub(crate) device: Device,
    /// Threads of a rank.
    pub(crate) threads: u32,
    /// Processes that share the passes of a step, and the stage of ZeRO: from 1 on each holds a share of the optimisers' state alone.
    pub(crate) ranks: u64,
    pub(crate) zero: u32,
    /// What backward computes again.
    pub(crate) recompute: Recompute,
    /// Tokens of a row.
    pub(crate) row_tokens: u64,
    /// Rows of a pass.
    pub(crate) micro_rows: f64,
    /// Rows of an optimiser step.
    pub(crate) step_rows: f64,
    /// Optimiser steps; none where the length of the data is not known.
    pub(crate) steps: Option<u64>,
    /// Share of a pass's tokens that go through the head.
    pub(crate) loss_share: f64,
    /// Whether rows hold documents that do not see each other.
    pub(crate) is_masked: bool,
    pub(crate) matrices: MatrixOptimizer,
    pub(crate) others: OtherOptimizer,
    pub(crate) has_ema: bool,
    pub(crate) has_z_loss: bool,
    pub(crate) lora: Option<LoraConfig>,
    /// Held-out tokens that are read after the training, and how often as many are on the way.
    pub(crate) held_out_tokens: f64,
    pub(crate) held_out_on_the_way: f64,
    /// Steps between two states, and seconds.
    pub(crate) state_steps: u64,
    pub(crate) state_secs: f64,
    /// Seconds that it takes, where they are known already: a short run saves no state by the clock.
    pub(crate) secs: Option<f64>,
    /// Bytes of mapped data that it reads.
    pub(crate) mapped_bytes: f64,
}

impl Training {
    /// Parameters that train.
    pub(crate) fn trained_params(&self) -> u64 {
        let head = match (self.stage, &self.lora) {
            // No score passes through the output head.
            (Stage::Reward, None) if !self.shape.tie_word_embeddings => {
                self.shape.hidden_size * self.vocab_size
            }
            _ => 0,
        };
        match &self.lora {
            Some(lora) => self.shape.adapter_params(lora),
            None => self.shape.total_params(self.vocab_size) - head,
        }
    }

    /// The rates that it is done at.
    pub(super) fn rates_of(&self) -> RatesOf {
        RatesOf::new(self.device, (self.threads, self.ranks as u32), self.precision)
    }

    /// What a trial of it runs; none of what is more than the passes of one network.
    pub(crate) fn trial(&self) -> Option<Trial> {
        let loss = match self.stage {
            Stage::Language if self.has_z_loss => TrialLoss::LanguageZ,
            Stage::Language => TrialLoss::Language,
            Stage::Chats | Stage::Pairs => TrialLoss::Chats,
            Stage::Reward => TrialLoss::Scores,
            Stage::Ppo { .. } => return None,
        };
        (self.device != Device::Auto).then(|| Trial {
            loss,
            shape: self.shape.clone(),
            vocab_size: self.vocab_size,
            device: self.device,
            threads: self.threads,
            precision: self.precision,
            recompute: self.recompute,
            rows: self.micro_rows.round().max(1.0) as u64,
            row_tokens: self.row_tokens,
            is_masked: self.is_masked,
            loss_percent: (100.0 * self.loss_share).round() as u32,
            matrices: self.matrices,
            others: self.others,
            has_ema: self.has_ema,
            lora: self.lora.clone(),
        })
    }

    /// Whether each rank holds a share of the optimisers' state alone.
    pub(crate) fn shares_state(&self) -> bool {
        self.ranks > 1 && self.zero > 0
    }

    /// Whether the products are bf16.
    pub(crate) fn is_bf16(&self) -> bool {
        self.precision == Precision::Bf16
    }

    /// Whether tokens go through the head.
    pub(crate) fn has_logits(&self) -> bool {
        self.stage != Stage::Reward
    }

    /// Whether the loss takes the normaliser of the softmax apart.
    pub(crate) fn takes_normalizer(&self) -> bool {
        self.has_z_loss || self.stage != Stage::Language
    }

    /// Whether a state is saved before the training ends.
    pub(crate) fn saves_states(&self) -> bool {
        let by_steps = self.state_steps > 0 && self.steps.is_none_or(|steps| steps >= self.state_steps);
        let by_clock = self.state_secs > 0.0 && self.secs.is_none_or(|secs| secs >= self.state_secs);
        by_steps || by_clock
    }

    /// Whether it validates between steps.
    pub(crate) fn validates_on_the_way(&self) -> bool {
        self.held_out_on_the_way > 0.0
    }

    /// Passes of an optimiser step, of the rank that has most.
    pub(crate) fn passes(&self) -> f64 {
        let all = (self.step_rows / self.micro_rows).ceil().max(1.0);
        (all / self.ranks as f64).ceil()
    }

    /// Rows and columns of the matrices of a layer that the optimiser of matrices steps.
    pub(super) fn layer_matrices(&self) -> Vec<(u64, u64)> {
        let (shape, width) = (&self.shape, self.shape.hidden_size);
        match (&self.lora, shape.layer_products()) {
            (_, products) if products.is_empty() => {
                vec![(4 * width, width), (4 * width, width), (width, width)]
            }
            (Some(lora), products) => {
                let adapted = products.into_iter().filter(|product| lora.adapts(product.targets));
                adapted.flat_map(|p| [(lora.rank, p.inputs), (p.outputs, lora.rank)]).collect()
            }
            (None, products) => products.iter().map(|p| (p.outputs, p.inputs)).collect(),
        }
    }

    /// FLOPs of the training; none where the length of the data is not known.
    pub(crate) fn flops(&self) -> Option<f64> {
        let adapters = self.lora.as_ref().map(|lora| self.shape.adapter_params(lora));
        let per_token = self.shape.flops_per_token(self.vocab_size, self.row_tokens, adapters);
        Some(self.steps? as f64 * self.step_rows * self.row_tokens as f64 * per_token)
    }
}
