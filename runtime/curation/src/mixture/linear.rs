//! Ridge regression: the loss as a weighted sum of the shares.

use super::runs::ProxyRuns;

/// Penalties that are tried, of the shares' own variance.
pub(super) const PENALTIES: [f64; 6] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

/// A plane over mixtures.
#[derive(Debug, Clone)]
pub(super) struct Plane {
    intercept: f64,
    slopes: Vec<f64>,
}

impl Plane {
    /// Fits with a penalty on slopes. Shares sum to 1, so that without one the slopes are not determined.
    pub(super) fn fit(runs: &ProxyRuns, penalty: f64) -> Self {
        let (count, size) = (runs.losses.len() as f64, runs.domains.len());
        let mean_loss = runs.losses.iter().sum::<f64>() / count;
        let mut means = vec![0.0; size];
        for mixture in &runs.mixtures {
            means.iter_mut().zip(mixture).for_each(|(mean, share)| *mean += share / count);
        }
        let mut matrix = vec![vec![0.0; size]; size];
        let mut side = vec![0.0; size];
        for (mixture, loss) in runs.mixtures.iter().zip(&runs.losses) {
            let from_mean: Vec<f64> = mixture.iter().zip(&means).map(|(share, mean)| share - mean).collect();
            for (i, a) in from_mean.iter().enumerate() {
                side[i] += a * (loss - mean_loss);
                for (entry, b) in matrix[i][..=i].iter_mut().zip(&from_mean) {
                    *entry += a * b;
                }
            }
        }
        let trace: f64 = (0..size).map(|at| matrix[at][at]).sum();
        let added = (penalty * trace / size as f64).max(1e-12);
        for (at, row) in matrix.iter_mut().enumerate() {
            row[at] += added;
        }
        let slopes = solve(matrix, side);
        let at_mean: f64 = slopes.iter().zip(&means).map(|(slope, mean)| slope * mean).sum();
        Self { intercept: mean_loss - at_mean, slopes }
    }

    pub(super) fn predict(&self, mixture: &[f64]) -> f64 {
        self.intercept + self.slopes.iter().zip(mixture).map(|(slope, share)| slope * share).sum::<f64>()
    }
}

/// Solves a positive definite system of which the lower half is given (Cholesky).
fn solve(mut matrix: Vec<Vec<f64>>, mut side: Vec<f64>) -> Vec<f64> {
    let size = side.len();
    for i in 0..size {
        for j in 0..=i {
            let below: f64 = (0..j).map(|k| matrix[i][k] * matrix[j][k]).sum();
            let value = matrix[i][j] - below;
            matrix[i][j] = if i == j { value.max(f64::MIN_POSITIVE).sqrt() } else { value / matrix[j][j] };
        }
    }
    for i in 0..size {
        let known: f64 = (0..i).map(|k| matrix[i][k] * side[k]).sum();
        side[i] = (side[i] - known) / matrix[i][i];
    }
    for i in (0..size).rev() {
        let known: f64 = (i + 1..size).map(|k| matrix[k][i] * side[k]).sum();
        side[i] = (side[i] - known) / matrix[i][i];
    }
    side
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_is_found() {
        let mixtures: Vec<Vec<f64>> = (0..30)
            .map(|at| {
                let (a, b) = (f64::from(at % 5) / 10.0, f64::from(at % 7) / 14.0);
                vec![a, b, 1.0 - a - b]
            })
            .collect();
        let losses = mixtures.iter().map(|mixture| 3.0 + 2.0 * mixture[0] - mixture[1]).collect();
        let runs = ProxyRuns { domains: ["a", "b", "c"].map(str::to_owned).to_vec(), mixtures, losses };
        let plane = Plane::fit(&runs, 1e-8);
        assert!((plane.predict(&[0.5, 0.25, 0.25]) - 3.75).abs() < 1e-4);
        let flat = Plane::fit(&runs, 1e9);
        let mean = runs.losses.iter().sum::<f64>() / 30.0;
        assert!((flat.predict(&[1.0, 0.0, 0.0]) - mean).abs() < 1e-6);
    }
}
