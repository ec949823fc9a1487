//! What must hold before a run is worth its time: checked on its own first rows, in seconds.

use cupola_specs::job::Precision;

use super::PretrainError;
use crate::generate;
use crate::job::StepContext;
use crate::model::Parameter;
use crate::train::{
    Curves, LanguageRun, Objective, RowId, StepLoss, TrainError, accumulation_self_test, packed_self_test,
    step_gradient,
};

/// Furthest that an untrained network's loss is from ln(vocab), nats.
const FIRST_LOSS_TOLERANCE: f64 = 0.5;

/// Runs every test and says so in the log.
pub(super) fn run(ctx: &StepContext, run: &LanguageRun, precision: Precision) -> Result<(), PretrainError> {
    // No more rows at once than a step has: that many fit in memory.
    let count = 2.min(run.micro_rows());
    let rows = run.first_rows(count);
    let tokens = run.row_set().tokens_of(&rows);
    let loss =
        tch::no_grad(|| run.rows_loss(&rows, tokens))?.loss.f_double_value(&[]).map_err(TrainError::from)?;
    let expected = (run.network.vocab_size() as f64).ln();
    first_loss(loss, expected)?;
    let apart = accumulation_self_test(count, precision, &mut |rows_each| {
        step_gradient(&mut FirstRows { run, rows: &rows, rows_each }, 0)
    })?;
    if run.row_set().shape().document_mask {
        ctx.events().log(match packed_self_test(run)? {
            Some(apart) => format!("self-test holds: documents in a row and alone differ by {apart:.1e}"),
            None => "self-test of packed rows: no row of the first step holds several documents".to_owned(),
        });
    }
    // Texts that the run samples on its way are fp32.
    let sampler = generate::self_test(&run.network, Precision::Fp32)?;
    ctx.events().log(format!(
        "self-tests hold: first loss {loss:.3} (ln V = {expected:.3}), gradient of 1×{count} against {count}×1 rows differs by {apart:.1e}, \
         logits with cache by {:.1e}, sampled log-probabilities by {:.1e}",
        sampler.max_logit_difference, sampler.max_logprob_difference
    ));
    Ok(())
}

/// An untrained network knows nothing: its loss is near ln(vocab).
fn first_loss(loss: f64, expected: f64) -> Result<(), TrainError> {
    // Not `>`: a NaN must not pass.
    if (loss - expected).abs() <= FIRST_LOSS_TOLERANCE {
        return Ok(());
    }
    let message = format!("expected about ln V = {expected:.3}, got {loss:.3}");
    Err(TrainError::SelfTest { test: "first_loss", message })
}

/// A run's first rows as one step, in micro-batches of `rows_each`.
struct FirstRows<'r> {
    run: &'r LanguageRun<'r>,
    rows: &'r [RowId],
    rows_each: u64,
}

impl Objective for FirstRows<'_> {
    fn parameters(&self) -> Vec<Parameter> {
        self.run.parameters()
    }

    fn micro_batches(&self, _step: u64) -> u64 {
        (self.rows.len() as u64).div_ceil(self.rows_each)
    }

    fn loss(&mut self, _step: u64, micro: u64) -> Result<StepLoss, TrainError> {
        let begin = (micro * self.rows_each) as usize;
        let end = (begin + self.rows_each as usize).min(self.rows.len());
        self.run.rows_loss(&self.rows[begin..end], self.run.row_set().tokens_of(self.rows))
    }

    fn row_names(&mut self, _step: u64, _micro: u64) -> Vec<String> {
        Vec::new()
    }

    fn after_step(&mut self, _done: u64, _curves: &mut Curves) -> Result<(), TrainError> {
        Ok(())
    }

    fn data_cursor(&self, _done: u64) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_knows_too_much_or_too_little_is_found() {
        let expected = 640f64.ln();
        first_loss(expected + 0.2, expected).unwrap();
        for loss in [expected - 1.0, expected + 1.0, f64::NAN] {
            let error = first_loss(loss, expected).unwrap_err();
            assert!(matches!(error, TrainError::SelfTest { test: "first_loss", .. }));
        }
    }
}
