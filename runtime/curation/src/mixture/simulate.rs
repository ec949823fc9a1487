//! Mixtures that might be the best: drawn around a prior, as the runs' were.

use super::plan::cap;
use super::runs::{Draws, ProxyRuns};

/// The mean of the runs' mixtures: the prior where none is given.
pub(super) fn mean_mixture(runs: &ProxyRuns) -> Vec<f64> {
    let count = runs.mixtures.len() as f64;
    let mut mean = vec![0.0; runs.domains.len()];
    for mixture in &runs.mixtures {
        mean.iter_mut().zip(mixture).for_each(|(mean, share)| *mean += share / count);
    }
    mean
}

/// A variance of shares under which runs have one mixture: rounding makes as much.
const NO_SPREAD: f64 = 1e-12;

/// How close together the runs' mixtures are: the sum of a Dirichlet distribution's parameters that has their variance. Runs with one mixture don't say where to look, so that the
/// number of sources is taken: around an even prior, every mixture is then as likely.
pub(super) fn concentration(runs: &ProxyRuns) -> f64 {
    let mean = mean_mixture(runs);
    let count = runs.mixtures.len() as f64;
    let (mut spread, mut variance) = (0.0, 0.0);
    for (at, mean) in mean.iter().enumerate() {
        spread += mean * (1.0 - mean);
        let squares = runs.mixtures.iter().map(|mixture| (mixture[at] - mean) * (mixture[at] - mean));
        variance += squares.sum::<f64>() / count;
    }
    if variance < NO_SPREAD {
        return runs.domains.len() as f64;
    }
    (spread / variance - 1.0).clamp(0.05, 1e6)
}

/// Candidates from a Dirichlet distribution around the prior, from twice as spread as the runs to sixteen times as dense, so that the middle is looked at as well as the corners. A share over
/// its limit is cut to it. They don't end, and each is drawn as the others are.
pub(super) fn candidates(
    prior: &[f64],
    limits: Option<&[f64]>,
    around: f64,
    mut draws: Draws,
) -> impl Iterator<Item = Vec<f64>> {
    std::iter::repeat_with(move || {
        let density = around * libm::exp2(5.0 * draws.unit() - 1.0);
        let gammas: Vec<f64> = prior.iter().map(|share| gamma(share * density, &mut draws)).collect();
        let sum: f64 = gammas.iter().sum();
        let mixture: Vec<f64> = if sum > 0.0 && sum.is_finite() {
            gammas.iter().map(|gamma| gamma / sum).collect()
        } else {
            // All shares came out smaller than a number can be: the prior itself.
            prior.to_vec()
        };
        // A mixture may lie in a few sources that are too small together; the prior's others fill it up.
        let mixed = |mixture: Vec<f64>| -> Vec<f64> {
            mixture.iter().zip(prior).map(|(share, prior)| 0.999 * share + 0.001 * prior).collect()
        };
        match limits {
            None => mixture,
            Some(limits) => cap(&mixed(mixture), limits).unwrap_or_else(|| prior.to_vec()),
        }
    })
}

/// A draw from a gamma distribution (Marsaglia and Tsang 2000).
fn gamma(shape: f64, draws: &mut Draws) -> f64 {
    if shape <= 0.0 {
        return 0.0;
    }
    if shape < 1.0 {
        return gamma(shape + 1.0, draws) * libm::pow(draws.unit(), 1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = draws.normal();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && libm::log(draws.unit()) < 0.5 * x * x + d - d * v + d * libm::log(v) {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gammas_have_their_mean_and_variance() {
        let mut draws = Draws::new(3, 0);
        for shape in [0.2, 1.0, 7.5] {
            let drawn: Vec<f64> = (0..20_000).map(|_| gamma(shape, &mut draws)).collect();
            let mean = drawn.iter().sum::<f64>() / 20_000.0;
            let variance = drawn.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 20_000.0;
            assert!(
                (mean / shape - 1.0).abs() < 0.05 && (variance / shape - 1.0).abs() < 0.12,
                "{shape} {mean} {variance}"
            );
        }
    }

    #[test]
    fn candidates_are_mixtures_within_their_limits() {
        let (prior, limits) = ([0.6, 0.3, 0.1], [0.5, 0.4, 0.2]);
        for limits in [None, Some(&limits[..])] {
            for mixture in candidates(&prior, limits, 3.0, Draws::new(1, 2)).take(500) {
                assert!((mixture.iter().sum::<f64>() - 1.0).abs() < 1e-9);
                let most = limits.unwrap_or(&[1.0; 3]);
                assert!(mixture.iter().zip(most).all(|(share, most)| *share <= most + 1e-12), "{mixture:?}");
            }
        }
    }

    #[test]
    fn the_runs_spread_is_found() {
        let mixtures = candidates(&[0.5, 0.3, 0.2], None, 10.0, Draws::new(5, 2)).take(3000).collect();
        let runs = ProxyRuns { domains: vec![String::new(); 3], losses: vec![0.0; 3000], mixtures };
        let found = concentration(&runs);
        assert!((5.0..60.0).contains(&found), "{found}");
        assert!((mean_mixture(&runs)[0] - 0.5).abs() < 0.02);
        let alike = ProxyRuns { mixtures: vec![vec![0.1, 0.2, 0.7]; 3000], ..runs };
        assert!((concentration(&alike) - 3.0).abs() < 1e-12);
    }
}
