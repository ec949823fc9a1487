//! What the fits read: the best run of each size and token count.

use std::collections::BTreeMap;

use cupola_specs::artifact::SweepRun;
use cupola_specs::job::Family;

/// One point of a fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// Parameters, embedding matrices not counted.
    pub params: f64,
    /// Training tokens.
    pub tokens: f64,
    /// Training compute.
    pub flops: f64,
    /// Final validation loss, nats a token.
    pub loss: f64,
}

/// The runs of a family with the lowest loss at their (size, tokens), in the order of size and tokens.
pub(super) fn best_runs(runs: &[SweepRun], family: Family) -> Vec<&SweepRun> {
    let mut best: BTreeMap<(u64, u64, u64), &SweepRun> = BTreeMap::new();
    for run in runs.iter().filter(|run| run.shape.family == family) {
        let key = (run.params, run.shape.num_hidden_layers, run.tokens);
        let kept = best.entry(key).or_insert(run);
        if run.validation_loss < kept.validation_loss {
            *kept = run;
        }
    }
    best.into_values().collect()
}

/// The points of the runs.
pub(super) fn points(runs: &[&SweepRun]) -> Vec<Point> {
    let point = |run: &&SweepRun| Point {
        params: run.params as f64,
        tokens: run.tokens as f64,
        flops: run.flops,
        loss: run.validation_loss,
    };
    runs.iter().map(point).collect()
}

/// FLOPs of training a size on a token count, by the runs' own FLOPs a token, interpolated over size on logarithms.
pub(super) fn training_flops(runs: &[&SweepRun], params: f64, tokens: f64) -> f64 {
    let mut by_size: BTreeMap<u64, f64> = BTreeMap::new();
    for run in runs {
        by_size.insert(run.params, run.flops / run.tokens as f64);
    }
    let table: Vec<(f64, f64)> =
        by_size.into_iter().map(|(n, flops)| ((n as f64).ln(), flops.ln())).collect();
    let per_token = match interpolate(&table, params.ln()) {
        Some(log) => log.exp(),
        None => 6.0 * params,
    };
    per_token * tokens
}

/// Linear interpolation in a table sorted by x; beyond its ends the outer slope goes on. None for fewer than two entries.
pub(super) fn interpolate(table: &[(f64, f64)], x: f64) -> Option<f64> {
    let last = table.len().checked_sub(2)?;
    let at = table.iter().position(|&(knot, _)| knot >= x).unwrap_or(table.len() - 1);
    let left = at.saturating_sub(1).min(last);
    let ((x0, y0), (x1, y1)) = (table[left], table[left + 1]);
    Some(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
}

/// Training FLOP/s of the largest size, over all of its runs.
pub(super) fn flops_per_sec(runs: &[SweepRun]) -> f64 {
    let largest = runs.iter().map(|run| run.params).max().unwrap_or(0);
    let (flops, secs) = runs
        .iter()
        .filter(|run| run.params == largest)
        .fold((0.0, 0.0), |(flops, secs), run| (flops + run.flops, secs + run.secs));
    if secs > 0.0 { flops / secs } else { 0.0 }
}
