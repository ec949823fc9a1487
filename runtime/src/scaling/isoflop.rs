//! Approach 2: at equal compute, loss is a parabola in the logarithm of the size; its lowest point is the best size.

use std::collections::BTreeMap;

use cupola_specs::artifact::{LawFit, SweepRun};
use cupola_specs::job::{Family, FitMethod};

use super::frontier::{Optimum, budgets, curve, fit_frontier, loss_at};
use super::points::training_flops;

/// Compute values at which parabolas are drawn.
const BUDGETS: usize = 9;

/// One parabola: loss = c0 + c1·x + c2·x², x = ln(size).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parabola {
    /// The compute.
    pub flops: f64,
    /// (ln size, loss) of each size.
    pub points: Vec<(f64, f64)>,
    /// c0, c1, c2.
    pub coefficients: [f64; 3],
}

/// Fits the runs, or says why it can't.
pub(super) fn fit_isoflop(family: Family, runs: &[&SweepRun], seed: u64) -> Result<LawFit, String> {
    fit_frontier(family, FitMethod::Isoflop, runs, optima, seed)
}

/// The parabolas at each compute that at least three sizes reach.
pub(super) fn parabolas(runs: &[&SweepRun]) -> Vec<Parabola> {
    let curves: Vec<(u64, Vec<(f64, f64)>)> = runs.iter().map(|run| (run.params, curve(run))).collect();
    let at = |log_flops: f64| {
        let mut lowest: BTreeMap<u64, f64> = BTreeMap::new();
        for (size, curve) in &curves {
            if let Some(loss) = loss_at(curve, log_flops) {
                let kept = lowest.entry(*size).or_insert(loss);
                *kept = kept.min(loss);
            }
        }
        let points: Vec<(f64, f64)> = lowest.into_iter().map(|(n, loss)| ((n as f64).ln(), loss)).collect();
        let coefficients = parabola(&points)?;
        Some(Parabola { flops: log_flops.exp(), points, coefficients })
    };
    budgets(&curves, 3, BUDGETS).into_iter().filter_map(at).collect()
}

/// The lowest points of the parabolas that open upwards and have it within a factor of two of the sizes that were run.
fn optima(runs: &[&SweepRun]) -> Vec<Optimum> {
    let lowest = |parabola: Parabola| {
        let [c0, c1, c2] = parabola.coefficients;
        let at = -c1 / (2.0 * c2);
        let (first, last) = (parabola.points.first()?.0, parabola.points.last()?.0);
        let margin = std::f64::consts::LN_2;
        if c2 <= 0.0 || !(first - margin..=last + margin).contains(&at) {
            return None;
        }
        let tokens = parabola.flops / training_flops(runs, at.exp(), 1.0);
        Some(Optimum { flops: parabola.flops, params: at.exp(), tokens, loss: c0 + c1 * at + c2 * at * at })
    };
    parabolas(runs).into_iter().filter_map(lowest).collect()
}

/// Least squares of a parabola through at least three points, around their mean.
fn parabola(points: &[(f64, f64)]) -> Option<[f64; 3]> {
    if points.len() < 3 {
        return None;
    }
    let mean = points.iter().map(|p| p.0).sum::<f64>() / points.len() as f64;
    let power = |k: i32| points.iter().map(|(x, _)| (x - mean).powi(k)).sum::<f64>();
    let moment = |k: i32| points.iter().map(|(x, y)| y * (x - mean).powi(k)).sum::<f64>();
    let matrix =
        [[power(0), power(1), power(2)], [power(1), power(2), power(3)], [power(2), power(3), power(4)]];
    let right = [moment(0), moment(1), moment(2)];
    let whole = determinant(&matrix);
    if whole.abs() < 1e-12 {
        return None;
    }
    let solve = |column: usize| {
        let mut replaced = matrix;
        for (row, value) in replaced.iter_mut().zip(right) {
            row[column] = value;
        }
        determinant(&replaced) / whole
    };
    let [c0, c1, c2] = [solve(0), solve(1), solve(2)];
    Some([c0 - c1 * mean + c2 * mean * mean, c1 - 2.0 * c2 * mean, c2])
}

fn determinant(m: &[[f64; 3]; 3]) -> f64 {
    m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parabola_is_found_again() {
        let points: Vec<(f64, f64)> =
            [10.0, 12.0, 13.5, 15.0].map(|x| (x, 4.0 + 0.3 * (x - 13.0_f64).powi(2))).to_vec();
        let [_, c1, c2] = parabola(&points).unwrap();
        assert!((c2 - 0.3).abs() < 1e-9 && (-c1 / (2.0 * c2) - 13.0).abs() < 1e-9);
    }
}
