//! The batch of a run: what is written, or what a rule chooses; the one rule, for plans and workers alike.
//!
//! `auto` follows DeepSeek LLM (2024, arXiv:2401.02954), within what a short run can use. `deepseek` is that paper's equation 1 as it stands: 0.292·C^0.3271
//! tokens for a compute of C without embeddings and head. `power_lines` is Bergsma et al. 2025 (arXiv:2505.13738): 0.0306·D^0.383 rows of 2,048 tokens.

use super::{AutoOr, BatchParams, BatchRule, ModelShape};

/// Fewest optimiser steps that a batch leaves a run.
const MIN_STEPS: u64 = 120;
/// Tokens of a forward pass.
const MICRO_TOKENS: u64 = 4096;

/// What rules go by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunSize {
    /// Tokens of the run.
    pub tokens: u64,
    /// FLOPs of the run.
    pub flops: f64,
    /// FLOPs of the run as DeepSeek counts them.
    pub body_flops: f64,
    /// Parameters in all.
    pub total_params: u64,
}

impl RunSize {
    /// A run of `tokens` tokens in rows of `context_length`.
    pub fn of(shape: &ModelShape, vocab_size: u64, tokens: u64, context_length: u64) -> Self {
        Self {
            tokens,
            flops: tokens as f64 * shape.flops_per_token(vocab_size, context_length, None),
            body_flops: tokens as f64 * shape.body_flops_per_token(context_length),
            total_params: shape.total_params(vocab_size),
        }
    }
}

/// Batch sizes with nothing left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Rows of an optimiser step.
    pub rows: u64,
    /// Rows of a forward pass.
    pub micro_rows: u64,
}

impl Batch {
    /// The same batch in micro-batches so small that each of some ranks has one, as far as there are rows.
    #[must_use]
    pub fn shared(self, ranks: u64) -> Self {
        let fits = |rows: &u64| self.rows.is_multiple_of(*rows) && self.rows / *rows >= ranks;
        Self { micro_rows: (1..=self.micro_rows).rev().find(fits).unwrap_or(1), ..self }
    }

    /// The batch with as many more rows as it takes to be whole micro-batches of rows `factor` times as long too.
    #[must_use]
    pub fn for_longer_rows(self, factor: u64) -> Self {
        let step = (1..=factor).map(|n| n * self.micro_rows).find(|rows| rows.is_multiple_of(factor));
        Self { rows: self.rows.next_multiple_of(step.unwrap_or(factor * self.micro_rows)), ..self }
    }

    /// The same tokens in rows `factor` times as long; `rows` must be a multiple of it.
    #[must_use]
    pub fn of_longer_rows(self, factor: u64) -> Self {
        let (rows, most) = (self.rows / factor, (self.micro_rows / factor).max(1));
        let divisor = (1..=most).rev().find(|divisor| rows.is_multiple_of(*divisor));
        Self { rows, micro_rows: divisor.unwrap_or(1) }
    }
}

/// Batch sizes, and what chose them.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchChoice {
    /// The sizes; of a run from scratch whole micro-batches.
    pub batch: Batch,
    /// What a rule chose: field, rule and value.
    pub chosen: Vec<(&'static str, String, f64)>,
}

impl BatchParams {
    /// Resolves the batch of a run in rows of `context_length`.
    pub fn choose(&self, size: &RunSize, context_length: u64) -> BatchChoice {
        let (global, rule) = match self.global_tokens {
            AutoOr::Value(tokens) => (tokens, None),
            AutoOr::Auto => {
                let rule = 0.292 * size.flops.max(1.0).powf(0.3271);
                let value = rule.min((size.tokens / MIN_STEPS) as f64).clamp(2048.0, 1_048_576.0) as u64;
                let rule = format!(
                    "0.292 · C^0.3271 (DeepSeek LLM), at most 1/{MIN_STEPS} of the run, at least 2,048"
                );
                (value, Some(rule))
            }
            AutoOr::Rule(BatchRule::Deepseek) => {
                let value = (0.292 * size.body_flops.max(1.0).powf(0.3271)) as u64;
                (value, Some("deepseek: 0.292 · C^0.3271".to_owned()))
            }
            AutoOr::Rule(BatchRule::PowerLines) => {
                let value = (0.0306 * (size.tokens.max(1) as f64).powf(0.383) * 2048.0) as u64;
                (value, Some("power_lines: 0.0306 · D^0.383 rows of 2,048 tokens".to_owned()))
            }
        };
        let mut chosen: Vec<_> =
            rule.into_iter().map(|rule| ("global_tokens", rule, global as f64)).collect();
        let wanted = (global as f64 / context_length as f64).round().max(1.0) as u64;
        let micro_rows = if let Some(rows) = self.micro_batch.given() {
            rows.max(1)
        } else {
            let rows = (MICRO_TOKENS / context_length.max(1)).clamp(1, wanted);
            chosen.push(("micro_batch", "4,096 tokens a forward pass".to_owned(), rows as f64));
            rows
        };
        let rows = wanted.next_multiple_of(micro_rows);
        BatchChoice { batch: Batch { rows, micro_rows }, chosen }
    }

    /// Resolves the batch of a stage behind pretraining, in items (rows, pairs) of `item_tokens` tokens on average; `stage_tokens` are those of an
    /// optimiser step where it is automatic. A step is as many items as there are at most, which is not known here.
    pub fn choose_items(&self, item_tokens: f64, stage: &str, stage_tokens: u64) -> BatchChoice {
        let items = |tokens: u64| (tokens as f64 / item_tokens.max(1.0)).round().max(1.0) as u64;
        let mut chosen = Vec::new();
        let global = match self.global_tokens {
            AutoOr::Value(tokens) => tokens,
            AutoOr::Auto | AutoOr::Rule(_) => {
                chosen.push((
                    "global_tokens",
                    format!("{stage}: {stage_tokens} tokens a step"),
                    stage_tokens as f64,
                ));
                stage_tokens
            }
        };
        let micro_rows = if let Some(items) = self.micro_batch.given() {
            items
        } else {
            let value = items(MICRO_TOKENS);
            let rule = format!("{stage}: {MICRO_TOKENS} tokens a forward pass");
            chosen.push(("micro_batch", rule, value as f64));
            value
        };
        BatchChoice { batch: Batch { rows: items(global), micro_rows }, chosen }
    }
}
