//! L(x) = E + Σᵢ Aᵢ / xᵢ^γᵢ: the form of Hoffmann et al. (2022, arXiv:2203.15556), fitted to the logarithm of the loss.
//!
//! Minimises Σ Huber(log L̂ − log L) over e = log E, aᵢ = log Aᵢ and γᵢ, with log L̂ a log-sum-exp. The sum, not the mean:
//! a mean's gradients are so small that optimisers stop early (Besiroglu et al., 2024, arXiv:2404.10102). The logarithms of x are
//! centred, which takes the correlation between Aᵢ and γᵢ out of the search. Shapes: n points, k terms, 1 + 2k parameters.

use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::minimize::minimize;

/// Exponents outside of this range are penalised: a term that doesn't fall, or falls faster than any data shows.
pub(super) const EXPONENT_BOUNDS: (f64, f64) = (0.02, 2.0);
/// Iterations of one minimisation.
const ITERATIONS: usize = 400;
/// Weight of the squared distance outside of the bounds, beside a sum of Huber losses.
const PENALTY: f64 = 10.0;
/// Fewer points than this are fitted by [`Weighting::few`].
const MANY_POINTS: usize = 50;
/// What is known of an exponent before the runs: about 0.35 (Hoffmann et al.), give or take a factor of e^0.5.
const PRIOR_EXPONENT: f64 = 0.35;
const PRIOR_SPREAD: f64 = 0.5;
/// Bounds of the noise, on the logarithm, that the prior is weighed against.
const NOISE_BOUNDS: (f64, f64) = (1e-3, 2e-2);

/// How residuals and the prior count.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Weighting {
    /// Huber's δ: where squares become absolute values.
    delta: f64,
    /// Weight of the squared distance of log γ from the prior's.
    prior: f64,
}

impl Weighting {
    /// The paper's: δ = 1e-3, which makes the median of many runs count.
    const MANY: Self = Self { delta: 1e-3, prior: 0.0 };

    /// For a sweep of a dozen runs: δ = 1e-2, so that every run counts but an outlier, and a prior in proportion to the noise. It decides
    /// only where the runs don't, as between a floor and a slow fall; without noise it has no weight.
    fn few(noise: f64) -> Self {
        let noise = noise.clamp(NOISE_BOUNDS.0, NOISE_BOUNDS.1);
        Self { delta: 1e-2, prior: 0.5 * (noise / PRIOR_SPREAD).powi(2) }
    }

    /// By the number of points, and what a fit left of them.
    fn of(data: &Observations, law: &SumLaw) -> Self {
        let n = data.log_loss.len();
        if n >= MANY_POINTS {
            return Self::MANY;
        }
        let squares: f64 = law.residuals(data).iter().map(|r| r * r).sum();
        Self::few((squares / degrees_of_freedom(n, law) as f64).sqrt())
    }
}

/// A law: the logarithm of the floor, and for each term the logarithm of its coefficient and its exponent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SumLaw {
    /// log E; very negative where there is no floor.
    pub log_floor: f64,
    /// (log Aᵢ, γᵢ).
    pub terms: Vec<(f64, f64)>,
}

/// Observations: for each point the logarithms of its variables, and of its loss.
#[derive(Debug, Clone)]
pub(super) struct Observations {
    /// [n, k].
    pub log_x: Vec<Vec<f64>>,
    /// [n].
    pub log_loss: Vec<f64>,
}

impl SumLaw {
    /// log L at log x.
    pub(super) fn log_loss(&self, log_x: &[f64]) -> f64 {
        let logs = self.terms.iter().zip(log_x).map(|(&(a, gamma), &x)| a - gamma * x);
        let logs: Vec<f64> = std::iter::once(self.log_floor).chain(logs).collect();
        log_sum_exp(&logs)
    }

    /// log L̂ − log L at each point.
    pub(super) fn residuals(&self, data: &Observations) -> Vec<f64> {
        data.log_x.iter().zip(&data.log_loss).map(|(x, y)| self.log_loss(x) - y).collect()
    }

    fn from_vector(vector: &[f64], centre: &[f64]) -> Self {
        let terms = centre
            .iter()
            .enumerate()
            .map(|(i, c)| (vector[1 + 2 * i] + vector[2 + 2 * i] * c, vector[2 + 2 * i]));
        Self { log_floor: vector[0], terms: terms.collect() }
    }

    fn to_vector(&self, centre: &[f64]) -> Vec<f64> {
        let mut vector = vec![self.log_floor];
        for (&(a, gamma), c) in self.terms.iter().zip(centre) {
            vector.extend([a - gamma * c, gamma]);
        }
        vector
    }
}

/// Fits the law from a grid of starts and returns the best. `data` has at least one point.
pub(super) fn fit(data: &Observations) -> SumLaw {
    if data.log_loss.len() >= MANY_POINTS {
        return fit_weighted(data, Weighting::MANY);
    }
    let free = fit_weighted(data, Weighting::few(0.0));
    fit_weighted(data, Weighting::of(data, &free))
}

fn fit_weighted(data: &Observations, weighting: Weighting) -> SumLaw {
    let centre = centre_of(data);
    let best = starts(data, centre.len())
        .iter()
        .map(|start| minimize(|v, g| objective(data, (&centre, weighting), v, g), start, ITERATIONS))
        .min_by(|a, b| a.value.total_cmp(&b.value));
    match best {
        Some(best) => SumLaw::from_vector(&best.at, &centre),
        None => SumLaw { log_floor: 0.0, terms: Vec::new() },
    }
}

/// Refits residual-bootstrap samples: the law's values with residuals drawn with replacement, widened by √(n / (n − p)) for the
/// degrees of freedom that the fit took. The design (sizes and token counts) stays, since it was chosen and not drawn.
pub(super) fn bootstrap(law: &SumLaw, data: &Observations, draws: usize, seed: u64) -> Vec<SumLaw> {
    let centre = centre_of(data);
    let weighting = Weighting::of(data, law);
    let n = data.log_loss.len();
    let widen = (n as f64 / degrees_of_freedom(n, law) as f64).sqrt();
    let residuals = law.residuals(data);
    let mean = residuals.iter().sum::<f64>() / n as f64;
    let pool: Vec<f64> = residuals.iter().map(|r| (mean - r) * widen).collect();
    let fitted: Vec<f64> = data.log_x.iter().map(|x| law.log_loss(x)).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let others = starts(data, centre.len());
    (0..draws)
        .map(|draw| {
            let noisy = fitted.iter().map(|y| y + pool.choose(&mut rng).copied().unwrap_or(0.0)).collect();
            let sample = Observations { log_x: data.log_x.clone(), log_loss: noisy };
            // From the fit itself, and from one start of the grid so that draws may leave the fit's valley.
            let starts = [law.to_vector(&centre), others[draw % others.len()].clone()];
            let found = starts
                .map(|s| minimize(|v, g| objective(&sample, (&centre, weighting), v, g), &s, ITERATIONS));
            let [near, far] = found;
            SumLaw::from_vector(if far.value < near.value { &far.at } else { &near.at }, &centre)
        })
        .collect()
}

/// Points less parameters, at least 1.
pub(super) fn degrees_of_freedom(num_points: usize, law: &SumLaw) -> usize {
    num_points.saturating_sub(1 + 2 * law.terms.len()).max(1)
}

/// The objective and its gradient.
fn objective(
    data: &Observations,
    (centre, weighting): (&[f64], Weighting),
    vector: &[f64],
    gradient: &mut [f64],
) -> f64 {
    gradient.fill(0.0);
    let mut total = 0.0;
    let mut logs = vec![0.0; 1 + centre.len()];
    for (x, y) in data.log_x.iter().zip(&data.log_loss) {
        logs[0] = vector[0];
        for (i, c) in centre.iter().enumerate() {
            logs[1 + i] = vector[1 + 2 * i] - vector[2 + 2 * i] * (x[i] - c);
        }
        let log_loss = log_sum_exp(&logs);
        let (loss, slope) = huber(log_loss - y, weighting.delta);
        total += loss;
        gradient[0] += slope * (logs[0] - log_loss).exp();
        for (i, c) in centre.iter().enumerate() {
            let share = slope * (logs[1 + i] - log_loss).exp();
            gradient[1 + 2 * i] += share;
            gradient[2 + 2 * i] -= share * (x[i] - c);
        }
    }
    let (low, high) = EXPONENT_BOUNDS;
    for i in 0..centre.len() {
        let outside = (vector[2 + 2 * i] - high).max(0.0) + (vector[2 + 2 * i] - low).min(0.0);
        total += PENALTY * outside * outside;
        gradient[2 + 2 * i] += 2.0 * PENALTY * outside;
        let exponent = vector[2 + 2 * i].max(low / 2.0);
        let off = (exponent / PRIOR_EXPONENT).ln();
        total += weighting.prior * off * off;
        if vector[2 + 2 * i] > low / 2.0 {
            gradient[2 + 2 * i] += 2.0 * weighting.prior * off / exponent;
        }
    }
    total
}

fn huber(residual: f64, delta: f64) -> (f64, f64) {
    if residual.abs() <= delta {
        (0.5 * residual * residual, residual)
    } else {
        (delta * (residual.abs() - 0.5 * delta), delta * residual.signum())
    }
}

/// A grid over the exponents, the floor's share of the lowest loss, and how the rest is shared between the terms.
fn starts(data: &Observations, terms: usize) -> Vec<Vec<f64>> {
    let lowest = data.log_loss.iter().copied().fold(f64::INFINITY, f64::min);
    let mean = data.log_loss.iter().sum::<f64>() / data.log_loss.len().max(1) as f64;
    let exponents = [0.15, 0.4, 0.8];
    let mut starts = Vec::new();
    for floor in [0.2, 0.6, 0.9] {
        let log_floor = lowest + f64::ln(floor);
        let rest = (mean.exp() - log_floor.exp()).max(1e-3);
        for first in [0.3, 0.7] {
            for code in 0..exponents.len().pow(terms as u32) {
                let mut start = vec![log_floor];
                for term in 0..terms {
                    let share = match (terms, term) {
                        (1, _) => 1.0,
                        (_, 0) => first,
                        _ => (1.0 - first) / (terms - 1) as f64,
                    };
                    let exponent = exponents[code / exponents.len().pow(term as u32) % exponents.len()];
                    start.extend([(rest * share).ln(), exponent]);
                }
                starts.push(start);
            }
            if terms == 1 {
                break;
            }
        }
    }
    starts
}

fn centre_of(data: &Observations) -> Vec<f64> {
    let n = data.log_x.len().max(1) as f64;
    let terms = data.log_x.first().map_or(0, Vec::len);
    (0..terms).map(|i| data.log_x.iter().map(|x| x[i]).sum::<f64>() / n).collect()
}

fn log_sum_exp(logs: &[f64]) -> f64 {
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    top + logs.iter().map(|log| (log - top).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(law: &SumLaw) -> Observations {
        let mut log_x = Vec::new();
        for n in [5e4_f64, 4e5, 1.3e6, 3e6] {
            for d in [2e5_f64, 4e5, 8e5, 1.6e6] {
                log_x.push(vec![n.ln(), d.ln()]);
            }
        }
        let log_loss = log_x.iter().map(|x| law.log_loss(x)).collect();
        Observations { log_x, log_loss }
    }

    #[test]
    fn a_law_without_noise_is_found_again() {
        let law = SumLaw { log_floor: 1.7_f64.ln(), terms: vec![(300_f64.ln(), 0.4), (900_f64.ln(), 0.45)] };
        let data = grid(&law);
        let found = fit(&data);
        assert!((found.log_floor.exp() - 1.7).abs() < 0.02, "{found:?}");
        assert!((found.terms[0].1 - 0.4).abs() < 0.01 && (found.terms[1].1 - 0.45).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn the_gradient_is_the_slope() {
        let law = SumLaw { log_floor: 0.5, terms: vec![(6.0, 0.4), (7.0, 0.45)] };
        let (data, centre) = (grid(&law), vec![13.0, 13.0]);
        let (at, weighting) = ([0.3, 0.8, 0.3, 1.0, 2.2], Weighting::few(0.02));
        let mut gradient = vec![0.0; 5];
        objective(&data, (&centre, weighting), &at, &mut gradient);
        for i in 0..5 {
            let mut ends = [at, at];
            ends[0][i] -= 1e-6;
            ends[1][i] += 1e-6;
            let mut unused = vec![0.0; 5];
            let [low, high] = ends.map(|v| objective(&data, (&centre, weighting), &v, &mut unused));
            assert!(((high - low) / 2e-6 - gradient[i]).abs() < 1e-6, "parameter {i}");
        }
    }
}
