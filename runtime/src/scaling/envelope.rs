//! Approach 1: the lower envelope of the training curves of every size, a power law in compute.

use cupola_specs::artifact::{LawFit, SweepRun};
use cupola_specs::job::{Family, FitMethod};

use super::frontier::{Optimum, budgets, curve, fit_frontier, loss_at};

/// Compute values at which the envelope is read.
const BUDGETS: usize = 24;

/// Fits the runs, or says why it can't.
pub(super) fn fit_envelope(family: Family, runs: &[&SweepRun], seed: u64) -> Result<LawFit, String> {
    fit_frontier(family, FitMethod::Envelope, runs, optima, seed)
}

/// The run of the lowest loss at each compute that at least two sizes reach.
pub(super) fn optima(runs: &[&SweepRun]) -> Vec<Optimum> {
    let curves: Vec<(u64, Vec<(f64, f64)>)> = runs.iter().map(|run| (run.params, curve(run))).collect();
    let lowest = |log_flops: f64| {
        let found = runs.iter().zip(&curves).filter_map(|(run, (_, curve))| {
            let flops = log_flops.exp();
            let tokens = flops * run.tokens as f64 / run.flops;
            Some(Optimum { flops, params: run.params as f64, tokens, loss: loss_at(curve, log_flops)? })
        });
        found.min_by(|a, b| a.loss.total_cmp(&b.loss))
    };
    budgets(&curves, 2, BUDGETS).into_iter().filter_map(lowest).collect()
}
