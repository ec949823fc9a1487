//! From a classifier's probability to a frequency: of the pages with this score, which share is good?
//!
//! Fitted on examples that the classifier has not been trained on. Platt's sigmoid has two parameters and does with a hundred examples; isotonic regression takes any rising curve
//! and wants a thousand (Niculescu-Mizil and Caruana 2005, "Predicting Good Probabilities with Supervised Learning").

use serde::{Deserialize, Serialize};

use super::ClassifierError;

/// How a calibration is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalibrationMethod {
    /// A sigmoid over the score's log-odds.
    Platt,
    /// The rising steps that fit best, joined by lines.
    Isotonic,
}

/// A rising map from probabilities to frequencies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Calibration {
    /// `1 / (1 + e^-(slope·log-odds + offset))`.
    Platt {
        /// Above 1 where the classifier is too timid.
        slope: f64,
        /// Above 0 where it says too little.
        offset: f64,
    },
    /// Lines through knots, flat outside.
    Isotonic {
        /// Where, ascending.
        scores: Vec<f64>,
        /// What, ascending.
        frequencies: Vec<f64>,
    },
}

impl Calibration {
    /// Fits on held-out probabilities and whether each was right.
    ///
    /// # Errors
    /// No example of either kind, a score that is not a number.
    pub fn fit(method: CalibrationMethod, held_out: &[(f32, bool)]) -> Result<Self, ClassifierError> {
        let positives = held_out.iter().filter(|(_, is_positive)| *is_positive).count();
        if positives == 0 || positives == held_out.len() {
            let count = held_out.len();
            let what =
                format!("a calibration needs examples of both kinds, {positives} of {count} are positive");
            return Err(ClassifierError::Data(what));
        }
        if held_out.iter().any(|(score, _)| score.is_nan()) {
            return Err(ClassifierError::Data("a calibration needs scores that are numbers".into()));
        }
        Ok(match method {
            CalibrationMethod::Platt => platt(held_out, positives),
            CalibrationMethod::Isotonic => isotonic(held_out),
        })
    }

    /// The frequency for a probability.
    pub fn apply(&self, probability: f64) -> f64 {
        match self {
            Self::Platt { slope, offset } => sigmoid(slope * log_odds(probability) + offset),
            Self::Isotonic { scores, frequencies } => interpolate(scores, frequencies, probability),
        }
    }
}

fn log_odds(probability: f64) -> f64 {
    let inside = probability.clamp(1e-7, 1.0 - 1e-7);
    libm::log(inside / (1.0 - inside))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

/// Platt 1999 with the damped Newton steps of Lin, Lin and Weng 2007, "A Note on Platt's Probabilistic Outputs"; the targets are drawn in as Platt says, so that what is
/// separable does not end in infinity.
fn platt(held_out: &[(f32, bool)], positives: usize) -> Calibration {
    let (positives, negatives) = (positives as f64, (held_out.len() - positives) as f64);
    let target = |is_positive: bool| {
        if is_positive { (positives + 1.0) / (positives + 2.0) } else { 1.0 / (negatives + 2.0) }
    };
    let points: Vec<(f64, f64)> =
        held_out.iter().map(|(score, is)| (log_odds(f64::from(*score)), target(*is))).collect();
    let loss = |slope: f64, offset: f64| -> f64 {
        let of = |(x, t): &(f64, f64)| {
            let z = slope * x + offset;
            z.max(0.0) - z * t + libm::log1p(libm::exp(-z.abs()))
        };
        points.iter().map(of).sum()
    };
    let (mut slope, mut offset) = (0.0, libm::log((positives + 1.0) / (negatives + 1.0)));
    let mut value = loss(slope, offset);
    for _ in 0..100 {
        let (mut g, mut h) = ([0.0; 2], [1e-9, 0.0, 1e-9]);
        for (x, t) in &points {
            let p = sigmoid(slope * x + offset);
            let (error, bend) = (p - t, p * (1.0 - p));
            g = [g[0] + error * x, g[1] + error];
            h = [h[0] + bend * x * x, h[1] + bend * x, h[2] + bend];
        }
        if g[0].abs() < 1e-8 && g[1].abs() < 1e-8 {
            break;
        }
        let det = h[0] * h[2] - h[1] * h[1];
        let step = [(h[2] * g[0] - h[1] * g[1]) / det, (h[0] * g[1] - h[1] * g[0]) / det];
        let mut size = 1.0;
        while size > 1e-10 {
            let next = loss(slope - size * step[0], offset - size * step[1]);
            if next < value {
                (slope, offset, value) = (slope - size * step[0], offset - size * step[1], next);
                break;
            }
            size /= 2.0;
        }
        if size <= 1e-10 {
            break;
        }
    }
    // A score that says the opposite is a constant, since a calibration must not turn the order around.
    if slope < 0.0 {
        (slope, offset) = (0.0, libm::log((positives + 1.0) / (negatives + 1.0)));
    }
    Calibration::Platt { slope, offset }
}

/// Neighbours that fall are pooled until none does (Ayer et al. 1955).
fn isotonic(held_out: &[(f32, bool)]) -> Calibration {
    let mut sorted = held_out.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Sum of scores, positives and number of each pool.
    let mut pools: Vec<[f64; 3]> = Vec::new();
    for ties in sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let positives = ties.iter().filter(|(_, is_positive)| *is_positive).count() as f64;
        let count = ties.len() as f64;
        let mut pool = [f64::from(ties[0].0) * count, positives, count];
        while let Some(last) = pools.last().filter(|last| last[1] * pool[2] >= pool[1] * last[2]) {
            pool = [pool[0] + last[0], pool[1] + last[1], pool[2] + last[2]];
            pools.pop();
        }
        pools.push(pool);
    }
    let scores = pools.iter().map(|pool| pool[0] / pool[2]).collect();
    let frequencies = pools.iter().map(|pool| pool[1] / pool[2]).collect();
    Calibration::Isotonic { scores, frequencies }
}

fn interpolate(scores: &[f64], frequencies: &[f64], at: f64) -> f64 {
    let right = scores.partition_point(|score| *score < at);
    let of = |index: usize| Some((*scores.get(index)?, *frequencies.get(index)?));
    match (right.checked_sub(1).and_then(of), of(right)) {
        (Some((x0, y0)), Some((x1, y1))) => y0 + (y1 - y0) * (at - x0) / (x1 - x0),
        (Some((_, y)), None) | (None, Some((_, y))) => y,
        (None, None) => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores whose true frequency is their square.
    fn squares() -> Vec<(f32, bool)> {
        let draw = |at: u64| crate::classifier::rows::mix(at) as f64 / u64::MAX as f64;
        (0..20_000).map(|at| (draw(at) as f32, draw(at + 1_000_000) < draw(at) * draw(at))).collect()
    }

    #[test]
    fn both_methods_find_the_frequencies() {
        let held_out = squares();
        for (method, tolerance) in [(CalibrationMethod::Platt, 0.06), (CalibrationMethod::Isotonic, 0.06)] {
            let fitted = Calibration::fit(method, &held_out).unwrap();
            for p in [0.2_f64, 0.4, 0.6, 0.8] {
                assert!((fitted.apply(p) - p * p).abs() < tolerance, "{method:?} {p} {}", fitted.apply(p));
            }
            let curve: Vec<f64> = (0..=100).map(|at| fitted.apply(f64::from(at) / 100.0)).collect();
            assert!(curve.windows(2).all(|pair| pair[0] <= pair[1]), "{method:?} falls");
        }
    }

    #[test]
    fn what_is_separable_or_upside_down_stays_finite_and_rising() {
        let separable: Vec<(f32, bool)> = (0..20).map(|at| (at as f32 / 20.0, at >= 10)).collect();
        let turned: Vec<(f32, bool)> = separable.iter().map(|(score, is)| (*score, !is)).collect();
        for held_out in [separable, turned] {
            for method in [CalibrationMethod::Platt, CalibrationMethod::Isotonic] {
                let fitted = Calibration::fit(method, &held_out).unwrap();
                let ends = (fitted.apply(0.0), fitted.apply(1.0));
                assert!(ends.0 >= 0.0 && ends.0 <= ends.1 && ends.1 <= 1.0, "{method:?} {ends:?}");
            }
        }
        assert!(Calibration::fit(CalibrationMethod::Platt, &[(0.5, true)]).is_err());
        assert!(Calibration::fit(CalibrationMethod::Platt, &[(f32::NAN, true), (0.1, false)]).is_err());
    }
}
