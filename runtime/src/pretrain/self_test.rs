//! What must hold before a run is worth its time: checked on its own first rows, in seconds.

use cupola_specs::job::Precision;
use tch::{Kind, Tensor};

use crate::job::StepContext;
use crate::model::{Network, RowLayout, RowSlot};
use crate::train::{LanguageRun, TrainError};

/// Runs every test and says so in the log.
pub(super) fn run(ctx: &StepContext, run: &LanguageRun, precision: Precision) -> Result<(), TrainError> {
    let first = first_loss(run)?;
    let apart = accumulation(run, precision)?;
    let cached = cache(&run.network)?;
    ctx.events().log(format!(
        "self-tests hold: first loss {first:.3} (ln V = {:.3}), gradient of 1×2 against 2×1 rows differs by {apart:.1e}, \
         hidden states with cache differ by {cached:.1e}",
        (run.network.vocab_size() as f64).ln()
    ));
    Ok(())
}

/// An untrained network knows nothing: its loss is near ln(vocab).
fn first_loss(run: &LanguageRun) -> Result<f64, TrainError> {
    let rows = run.rows(0, 2.min(run.step_rows()));
    let loss = tch::no_grad(|| run.rows_loss(&rows, rows.len() as u64))?.loss.f_double_value(&[])?;
    let expected = (run.network.vocab_size() as f64).ln();
    if (loss - expected).abs() > 0.5 {
        return Err(TrainError::SelfTest {
            test: "first_loss",
            message: format!("expected about ln V = {expected:.3}, got {loss:.3}"),
        });
    }
    Ok(loss)
}

/// Two rows at once and one after the other give the same gradient. Returns the relative difference.
fn accumulation(run: &LanguageRun, precision: Precision) -> Result<f64, TrainError> {
    let rows = run.rows(0, 2.min(run.step_rows()));
    let count = rows.len() as u64;
    let together = gradient(run, &[&rows], count)?;
    let parts: Vec<&[(usize, u64)]> = rows.chunks(1).collect();
    let apart = gradient(run, &parts, count)?;
    let difference = ((&together - &apart).norm() / (together.norm() + 1e-12)).double_value(&[]);
    let limit = if precision == Precision::Bf16 { 0.05 } else { 1e-3 };
    if difference.is_nan() || difference > limit {
        return Err(TrainError::SelfTest {
            test: "accumulation",
            message: format!("gradients differ by {difference:.1e}, at most {limit:.0e} is rounding"),
        });
    }
    Ok(difference)
}

/// The gradients of all weights, end to end; they are cleared.
fn gradient(run: &LanguageRun, parts: &[&[(usize, u64)]], rows: u64) -> Result<Tensor, TrainError> {
    for part in parts {
        run.rows_loss(part, rows)?.loss.f_backward()?;
    }
    tch::no_grad(|| {
        let mut flat = Vec::new();
        for parameter in run.network.parameters() {
            let mut weight = parameter.tensor.shallow_clone();
            let grad = weight.grad();
            if grad.defined() {
                flat.push(grad.view([-1]).copy());
            }
            weight.zero_grad();
        }
        Ok(Tensor::f_cat(&flat, 0)?)
    })
}

/// A row read at once, and the same read in parts through the cache, give the same hidden states in fp32. Returns the largest difference.
fn cache(network: &Network) -> Result<f64, TrainError> {
    const LENGTH: i64 = 12;
    let _guard = tch::no_grad_guard();
    let vocab = network.vocab_size();
    let ids: Vec<i64> = (0..LENGTH).map(|i| (i * 7919 + 13) % vocab).collect();
    let tokens = Tensor::f_from_slice(&ids)?.to_device(network.device()).view([1, LENGTH]);
    let whole = network.hidden(&tokens, &RowLayout::Causal, Precision::Fp32); // [1, T, C]
    let mut cache = network.new_cache(2, LENGTH, Precision::Fp32);
    let mut parts = Vec::new();
    for (start, count) in [(0, 8), (8, 1), (9, 2), (11, 1)] {
        let row = [RowSlot { slot: 1, start }];
        parts.push(network.hidden_cached(&tokens.narrow(1, start, count), &mut cache, &row, Precision::Fp32));
    }
    let difference = (Tensor::f_cat(&parts, 1)? - whole).abs().max().to_kind(Kind::Double).double_value(&[]);
    if difference.is_nan() || difference > 1e-3 {
        return Err(TrainError::SelfTest {
            test: "kv_cache",
            message: format!("hidden states differ by {difference:.1e}"),
        });
    }
    Ok(difference)
}
