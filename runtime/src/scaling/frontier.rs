//! What approaches 1 and 2 share: the best size and token count at some compute budgets, and power laws through them.
//!
//! N = N0·C^a, D = D0·C^b by least squares of logarithms; L = E + K/C^γ by the robust fit. The bootstrap draws whole runs, since
//! the points of one run's curve aren't independent.

use cupola_specs::artifact::{LawFit, SweepRun};
use cupola_specs::job::{Family, FitMethod};
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::fitting::{DRAWS, FitParts, Named, backtest_error, law_fit};
use super::sum_law::{Observations, SumLaw, fit};

/// Fewest budgets that hold a power law.
const MIN_BUDGETS: usize = 4;
/// Share of a run at its start that is warm-up, not learning curve.
const WARM_UP: f64 = 0.1;

/// The best that some compute can buy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Optimum {
    /// The compute.
    pub flops: f64,
    /// The best size.
    pub params: f64,
    /// Its tokens.
    pub tokens: f64,
    /// Its loss.
    pub loss: f64,
}

/// Finds the optima of some runs.
pub(super) type FindOptima = fn(&[&SweepRun]) -> Vec<Optimum>;

/// Fits the optima of the runs, or says why it can't.
pub(super) fn fit_frontier(
    family: Family,
    method: FitMethod,
    runs: &[&SweepRun],
    find: FindOptima,
    seed: u64,
) -> Result<LawFit, String> {
    let optima = find(runs);
    if optima.len() < MIN_BUDGETS {
        return Err(format!(
            "{MIN_BUDGETS} compute budgets at which sizes can be compared, got {}: curves of different sizes must overlap",
            optima.len()
        ));
    }
    let (law, data) = loss_law(&optima);
    let central = named(&optima, &law);
    let draws = draws(runs, find, &central, seed);
    let mut caveats =
        vec!["losses inside a run stand for shorter runs, whose learning rate would have fallen".into()];
    if method == FitMethod::Envelope {
        caveats.push(
            "speaks of runs on the envelope: another size or token count at this compute does worse".into(),
        );
    }
    let extrapolation = backtest(&optima);
    let residuals = law.residuals(&data);
    Ok(law_fit(FitParts { family, method, central, draws, residuals, extrapolation, caveats }))
}

/// A run's curve as (log compute, validation loss): the training curve, smoothed, shifted so that it ends at the validation loss.
pub(super) fn curve(run: &SweepRun) -> Vec<(f64, f64)> {
    let kept: Vec<(f64, f64)> =
        run.curve.iter().copied().filter(|&(tokens, _)| tokens >= WARM_UP * run.tokens as f64).collect();
    let half = (kept.len() / 20).max(1);
    let smooth: Vec<f64> = (0..kept.len())
        .map(|at| {
            // The window shrinks at the ends, so that it stays centred: a one-sided mean would lag behind a falling curve.
            let half = half.min(at).min(kept.len() - 1 - at);
            let window = &kept[at - half..=at + half];
            window.iter().map(|(_, loss)| loss).sum::<f64>() / window.len() as f64
        })
        .collect();
    let end = run.flops.ln();
    let tail = &smooth[smooth.len() - smooth.len().min(half + 1)..];
    let shift = match tail.len() {
        0 => 0.0,
        count => run.validation_loss - tail.iter().sum::<f64>() / count as f64,
    };
    let mut curve: Vec<(f64, f64)> = kept
        .iter()
        .zip(&smooth)
        .filter(|((tokens, _), _)| *tokens < 0.98 * run.tokens as f64)
        .map(|(&(tokens, _), loss)| ((run.flops * tokens / run.tokens as f64).ln(), loss + shift))
        .collect();
    curve.push((end, run.validation_loss));
    curve
}

/// The curve's loss at a compute that it covers.
pub(super) fn loss_at(curve: &[(f64, f64)], log_flops: f64) -> Option<f64> {
    let (first, last) = (curve.first()?.0, curve.last()?.0);
    if log_flops < first - 1e-9 || log_flops > last + 1e-9 {
        return None;
    }
    match curve.len() {
        1 => Some(curve[0].1),
        _ => super::points::interpolate(curve, log_flops),
    }
}

/// Compute budgets, evenly spaced on the logarithm, at which at least `sizes` sizes have a curve.
pub(super) fn budgets(curves: &[(u64, Vec<(f64, f64)>)], sizes: usize, count: usize) -> Vec<f64> {
    let low = curves.iter().filter_map(|(_, c)| c.first()).map(|p| p.0).fold(f64::INFINITY, f64::min);
    let high = curves.iter().filter_map(|(_, c)| c.last()).map(|p| p.0).fold(f64::NEG_INFINITY, f64::max);
    let covered = |log_flops: f64| {
        let mut seen: Vec<u64> =
            curves.iter().filter(|(_, c)| loss_at(c, log_flops).is_some()).map(|(n, _)| *n).collect();
        seen.sort_unstable();
        seen.dedup();
        seen.len() >= sizes
    };
    let fine = (0..=400).map(|i| low + (high - low) * f64::from(i) / 400.0).filter(|&c| covered(c));
    let fine: Vec<f64> = fine.collect();
    match fine.len() {
        0 | 1 => fine,
        n => (0..count).map(|i| fine[i * (n - 1) / (count - 1)]).collect(),
    }
}

fn loss_law(optima: &[Optimum]) -> (SumLaw, Observations) {
    let data = Observations {
        log_x: optima.iter().map(|o| vec![o.flops.ln()]).collect(),
        log_loss: optima.iter().map(|o| o.loss.ln()).collect(),
    };
    (fit(&data), data)
}

fn named(optima: &[Optimum], law: &SumLaw) -> Named {
    let line = |of: fn(&Optimum) -> f64| {
        line(&optima.iter().map(|o| (o.flops.ln(), of(o).ln())).collect::<Vec<_>>())
    };
    let ((log_n0, a), (log_d0, b)) = (line(|o| o.params), line(|o| o.tokens));
    let (log_k, gamma) = law.terms[0];
    Named::from([
        ("E", law.log_floor.exp()),
        ("K", log_k.exp()),
        ("gamma", gamma),
        ("N0", log_n0.exp()),
        ("a", a),
        ("D0", log_d0.exp()),
        ("b", b),
    ])
}

/// Draws runs with replacement and fits again; a draw whose runs hold no frontier is drawn anew, a few times.
fn draws(runs: &[&SweepRun], find: FindOptima, central: &Named, seed: u64) -> Vec<Named> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draws = Vec::new();
    for _ in 0..3 * DRAWS {
        let drawn: Vec<&SweepRun> = runs.iter().filter_map(|_| runs.choose(&mut rng).copied()).collect();
        let optima = find(&drawn);
        if optima.len() >= MIN_BUDGETS {
            draws.push(named(&optima, &loss_law(&optima).0));
        }
        if draws.len() == DRAWS {
            return draws;
        }
    }
    if draws.is_empty() {
        draws.push(central.clone());
    }
    draws
}

/// Forecasts the upper half of the budgets from the lower half.
fn backtest(optima: &[Optimum]) -> Option<f64> {
    let (kept, held) = optima.split_at(optima.len() / 2);
    if kept.len() < MIN_BUDGETS {
        return None;
    }
    let (law, _) = loss_law(kept);
    let edge = kept[kept.len() - 1].flops;
    let errors: Vec<(f64, f64)> =
        held.iter().map(|o| (law.log_loss(&[o.flops.ln()]) - o.loss.ln(), (o.flops / edge).ln())).collect();
    backtest_error(&errors)
}

/// Least squares: (intercept, slope).
pub(super) fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let cross: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    let square: f64 = points.iter().map(|(x, _)| (x - mx).powi(2)).sum();
    let slope = cross / square.max(f64::MIN_POSITIVE);
    (my - slope * mx, slope)
}

#[cfg(test)]
mod tests {
    use super::super::envelope::fit_envelope;
    use super::super::invented::invented_runs;
    use super::super::isoflop::fit_isoflop;
    use super::super::points::best_runs;
    use super::*;

    #[test]
    fn both_methods_find_a_frontier_and_its_exponents() {
        let runs = invented_runs(0.0);
        let best = best_runs(&runs, Family::Transformer);
        for fit in [
            fit_envelope(Family::Transformer, &best, 1).unwrap(),
            fit_isoflop(Family::Transformer, &best, 1).unwrap(),
        ] {
            let (a, b) = (fit.parameters["a"].value, fit.parameters["b"].value);
            assert!((0.1..1.4).contains(&a) && (-0.3..1.0).contains(&b), "{:?}: a {a} b {b}", fit.method);
            assert!(fit.rms_log_residual < 0.02, "{fit:?}");
        }
    }

    #[test]
    fn sizes_that_never_meet_have_no_frontier() {
        let mut runs = invented_runs(0.0);
        for run in &mut runs {
            run.curve.clear();
            run.flops = run.flops.powf(2.0);
        }
        let best = best_runs(&runs, Family::Transformer);
        assert!(fit_isoflop(Family::Transformer, &best, 1).is_err());
    }
}
