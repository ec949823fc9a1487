//! How well a regression orders mixtures that it has not seen.

use serde::{Deserialize, Serialize};

use super::linear::{PENALTIES, Plane};
use super::runs::{Draws, ProxyRuns};
use super::trees::{ROUNDS, Trees};

/// How losses are predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regressor {
    /// A plane, by ridge regression.
    Linear,
    /// Gradient-boosted trees.
    Trees,
}

/// What cross-validation says of a regressor: each run is predicted by a fit on the folds without it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrossValidation {
    /// Of which.
    pub regressor: Regressor,
    /// Rank correlation of predictions with losses, as in the paper: 1 where every pair is in its order.
    pub spearman: f64,
    /// Root of the mean squared error, in the losses' unit.
    pub rmse: f64,
    /// The penalty of a plane or the number of trees: what predicted best.
    pub setting: f64,
    /// Predicted minus measured loss, run by run.
    #[serde(skip)]
    pub(super) residuals: Vec<f64>,
}

/// A fitted regressor.
#[derive(Debug)]
pub(super) enum Fitted {
    Plane(Plane),
    Trees(Trees),
}

impl Fitted {
    /// Fits with what cross-validation found best.
    pub(super) fn new(runs: &ProxyRuns, chosen: &CrossValidation) -> Self {
        match chosen.regressor {
            Regressor::Linear => Self::Plane(Plane::fit(runs, chosen.setting)),
            Regressor::Trees => Self::Trees(Trees::fit(runs, chosen.setting as usize, |_| {})),
        }
    }

    pub(super) fn predict(&self, mixture: &[f64]) -> f64 {
        match self {
            Self::Plane(plane) => plane.predict(mixture),
            Self::Trees(trees) => trees.predict(mixture),
        }
    }
}

/// Both regressors, the one that orders better first.
pub(super) fn cross_validate(runs: &ProxyRuns, folds: usize, seed: u64) -> [CrossValidation; 2] {
    let mut fold_of: Vec<usize> = (0..runs.losses.len()).map(|at| at % folds).collect();
    let mut draws = Draws::new(seed, 1);
    for at in (1..fold_of.len()).rev() {
        fold_of.swap(at, draws.below(at + 1));
    }
    // By setting, a prediction for each run.
    let mut planes = vec![vec![0.0; runs.losses.len()]; PENALTIES.len()];
    let mut trees = vec![vec![0.0; runs.losses.len()]; ROUNDS];
    for fold in 0..folds {
        let places = |held: bool| -> Vec<usize> {
            (0..fold_of.len()).filter(|at| (fold_of[*at] == fold) == held).collect()
        };
        let (held, fitted_on) = (places(true), runs.take(&places(false)));
        for (predictions, penalty) in planes.iter_mut().zip(PENALTIES) {
            let plane = Plane::fit(&fitted_on, penalty);
            for at in &held {
                predictions[*at] = plane.predict(&runs.mixtures[*at]);
            }
        }
        let mut sums: Option<Vec<f64>> = None;
        let mut round = 0;
        Trees::fit(&fitted_on, ROUNDS, |grown| {
            let sums = sums.get_or_insert_with(|| vec![grown.mean(); held.len()]);
            for (sum, at) in sums.iter_mut().zip(&held) {
                *sum += grown.last(&runs.mixtures[*at]);
                trees[round][*at] = *sum;
            }
            round += 1;
        });
    }
    let linear = best(Regressor::Linear, &planes, &runs.losses, |at| PENALTIES[at]);
    let trees = best(Regressor::Trees, &trees, &runs.losses, |at| (at + 1) as f64);
    if trees.spearman >= linear.spearman { [trees, linear] } else { [linear, trees] }
}

fn best(
    regressor: Regressor,
    predictions: &[Vec<f64>],
    losses: &[f64],
    setting: impl Fn(usize) -> f64,
) -> CrossValidation {
    let rmse = |predicted: &Vec<f64>| {
        let squares: f64 = predicted.iter().zip(losses).map(|(a, b)| (a - b) * (a - b)).sum();
        (squares / losses.len() as f64).sqrt()
    };
    let scored = predictions.iter().map(rmse).enumerate();
    let (at, rmse) = scored.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, f64::NAN));
    let predicted = predictions.get(at).map_or(&[][..], Vec::as_slice);
    let residuals = predicted.iter().zip(losses).map(|(a, b)| a - b).collect();
    CrossValidation {
        regressor,
        spearman: spearman(predicted, losses),
        rmse,
        setting: setting(at),
        residuals,
    }
}

/// Spearman's rank correlation, ties by their mean rank; 0 where one side is constant or there are fewer than two pairs.
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let count = a.len().min(b.len());
    let (a, b) = (ranks(&a[..count]), ranks(&b[..count]));
    let mean = f64::midpoint(count as f64, 1.0);
    let product =
        |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum() };
    let scale = (product(&a, &a) * product(&b, &b)).sqrt();
    if scale > 0.0 { product(&a, &b) / scale } else { 0.0 }
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for ties in order.chunk_by(|a, b| values[*a].total_cmp(&values[*b]).is_eq()) {
        for at in ties {
            ranks[*at] = before as f64 + (ties.len() + 1) as f64 / 2.0;
        }
        before += ties.len();
    }
    ranks
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "what is compared is exact")]
mod tests {
    use super::*;

    #[test]
    fn ranks_correlate() {
        assert!((spearman(&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0, 25.0, 1e9]) - 1.0).abs() < 1e-12);
        assert!((spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]) + 1.0).abs() < 1e-12);
        // Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4.
        assert!((spearman(&[1.0, 2.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]) - 0.948_683).abs() < 1e-6);
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), 0.0);
        assert_eq!(spearman(&[], &[]), 0.0);
    }
}
