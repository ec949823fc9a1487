//! What `auto` chooses, and by which rule.
//!
//! The batch follows DeepSeek LLM (2024, arXiv:2401.02954), B = 0.292·C^0.3271 tokens of compute C, within what a short run can use. Rates were
//! found on this project's own short runs at widths 64 to 256 and are scaled as Adam's usually are, with 1/√width for AdamW's parameters; Muon's
//! update has unit spectral norm, so its rate needs no scaling with width (Jordan 2024).

use cupola_specs::job::{AutoOr, BatchParams, ModelShape, OptimizerParams, Precision};

use super::{OptimizerSettings, TrainError};

/// AdamW's rate at width 256.
const ADAMW_LR: f64 = 0.004;
/// Muon's rate.
const MUON_LR: f64 = 0.02;
/// Factor of the rate for input embeddings: a row is touched only when its token comes.
const EMBEDDING_FACTOR: f64 = 4.0;
/// Fewest optimiser steps that a batch leaves a run.
const MIN_STEPS: u64 = 120;

/// What was chosen by a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct AutoChoice {
    /// The field.
    pub name: &'static str,
    /// The rule, in words.
    pub rule: String,
    /// The value.
    pub value: f64,
}

/// Batch sizes with nothing left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Rows of an optimiser step.
    pub rows: u64,
    /// Rows of a forward pass.
    pub micro_rows: u64,
}

/// Resolves the optimiser for a width; says what a rule chose.
pub fn choose_rates(params: &OptimizerParams, shape: &ModelShape, precision: Precision) -> Rates {
    let mut chosen = Vec::new();
    let lr = match params.lr {
        AutoOr::Value(lr) => lr,
        AutoOr::Auto => {
            let value = ADAMW_LR * (256.0 / shape.hidden_size as f64).sqrt();
            chosen.push(AutoChoice {
                name: "lr", rule: format!("{ADAMW_LR} · √(256 / hidden_size)"), value
            });
            value
        }
    };
    let matrix_lr = match params.matrix_lr {
        AutoOr::Value(lr) => lr,
        AutoOr::Auto => {
            chosen.push(AutoChoice {
                name: "matrix_lr",
                rule: "Muon: the same at every width".into(),
                value: MUON_LR,
            });
            MUON_LR
        }
    };
    let settings = OptimizerSettings {
        matrices: params.matrices,
        lr,
        matrix_lr,
        embedding_factor: EMBEDDING_FACTOR,
        weight_decay: params.weight_decay,
        betas: params.betas,
        eps: params.eps,
        precision,
    };
    Rates { settings, chosen }
}

/// Resolved optimiser settings, and what a rule chose of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// The settings.
    pub settings: OptimizerSettings,
    /// What a rule chose.
    pub chosen: Vec<AutoChoice>,
}

/// Resolves the batch of a run of `tokens` tokens at `flops` of compute, in rows of `context_length`.
pub fn choose_batch(
    params: &BatchParams,
    tokens: u64,
    flops: f64,
    context_length: u64,
) -> (Batch, Vec<AutoChoice>) {
    let mut chosen = Vec::new();
    let global = match params.global_tokens {
        AutoOr::Value(tokens) => tokens,
        AutoOr::Auto => {
            let rule = 0.292 * flops.max(1.0).powf(0.3271);
            let value = rule.min((tokens / MIN_STEPS) as f64).clamp(2048.0, 1_048_576.0) as u64;
            let rule =
                format!("0.292 · C^0.3271 (DeepSeek LLM), at most 1/{MIN_STEPS} of the run, at least 2,048");
            chosen.push(AutoChoice { name: "global_tokens", rule, value: value as f64 });
            value
        }
    };
    let wanted = (global as f64 / context_length as f64).round().max(1.0) as u64;
    let micro_rows = match params.micro_batch {
        AutoOr::Value(rows) => rows.max(1),
        AutoOr::Auto => {
            let rows = (4096 / context_length).clamp(1, wanted);
            chosen.push(AutoChoice {
                name: "micro_batch",
                rule: "4,096 tokens a forward pass".into(),
                value: rows as f64,
            });
            rows
        }
    };
    let rows = wanted.next_multiple_of(micro_rows);
    (Batch { rows, micro_rows }, chosen)
}

impl Batch {
    /// The same batch in micro-batches half as large, as often as earlier attempts ran out of memory.
    ///
    /// # Errors
    /// Where they were as small as can be already.
    pub fn eased(self, halvings: u32) -> Result<Self, TrainError> {
        let most = eased(self.micro_rows, halvings)?;
        // Whole micro-batches, as before.
        let fits = (1..=most).rev().find(|rows| self.rows.is_multiple_of(*rows));
        Ok(Self { micro_rows: fits.unwrap_or(1), ..self })
    }

    /// The same batch in micro-batches so small that each of some ranks has one, as far as there are rows.
    pub fn shared(self, ranks: u64) -> Self {
        let fits = |rows: &u64| self.rows.is_multiple_of(*rows) && self.rows / *rows >= ranks;
        Self { micro_rows: (1..=self.micro_rows).rev().find(fits).unwrap_or(1), ..self }
    }
}

/// A micro-batch after `halvings` attempts that ran out of memory.
///
/// # Errors
/// Where it was one already at the last of them: another attempt would need as much.
pub fn eased(micro_batch: u64, halvings: u32) -> Result<u64, TrainError> {
    let halved = |times: u32| micro_batch.checked_shr(times).unwrap_or(0);
    if halvings > 0 && halved(halvings - 1) <= 1 {
        return Err(TrainError::OutOfMemory);
    }
    Ok(halved(halvings).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_whole_micro_batches_and_leaves_enough_steps() {
        let auto = BatchParams { global_tokens: AutoOr::Auto, micro_batch: AutoOr::Auto };
        let (batch, chosen) = choose_batch(&auto, 2_500_000, 2.5e6 * 6.0 * 4e6, 256);
        assert_eq!(batch.rows % batch.micro_rows, 0);
        assert!((100..400).contains(&(2_500_000 / (batch.rows * 256))), "{batch:?}");
        assert_eq!(chosen.len(), 2);
        let given = BatchParams { global_tokens: AutoOr::Value(2000), micro_batch: AutoOr::Value(3) };
        assert_eq!(choose_batch(&given, 80_000, 1e9, 128), (Batch { rows: 18, micro_rows: 3 }, vec![]));
    }

    #[test]
    fn a_micro_batch_is_halved_until_it_is_one_and_the_step_stays_the_same() {
        let batch = Batch { rows: 18, micro_rows: 9 };
        let micro = |halvings| batch.eased(halvings).map(|batch| (batch.rows, batch.micro_rows));
        assert_eq!(
            [0, 1, 2, 3].map(|halvings| micro(halvings).unwrap()),
            [(18, 9), (18, 3), (18, 2), (18, 1)]
        );
        assert!(matches!(micro(4), Err(TrainError::OutOfMemory)));
        assert_eq!([1, 2, 3, 40].map(|ranks| batch.shared(ranks).micro_rows), [9, 9, 6, 1]);
        assert!(matches!(eased(1, 1), Err(TrainError::OutOfMemory)));
        assert!(matches!(eased(1, 80), Err(TrainError::OutOfMemory)));
    }
}
