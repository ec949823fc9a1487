//! How good a classifier is on examples that it has not seen, and how sure that is.

use serde::{Deserialize, Serialize};

use super::ClassifierError;
use super::rows::mix;

/// A measure with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// From 0 to 1.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Examples that are positive.
    pub positives: u64,
    /// Those that are not.
    pub negatives: u64,
}

/// The area under the ROC curve: how often a positive has a higher score than a negative, ties by half.
///
/// Variance by DeLong et al. 1988 over midranks (Sun and Xu 2014, "Fast Implementation of DeLong's Algorithm"), the interval over log-odds so that it stays between 0 and 1. Where
/// the kinds are apart the variance says nothing; the interval is then what an event that did not occur in as many trials as there are of the rarer kind leaves open.
///
/// # Errors
/// No example of either kind, a score that is not a number.
pub fn roc_auc(scored: &[(f32, bool)]) -> Result<Estimate, ClassifierError> {
    let sorted = sorted(scored)?;
    let of = |kind: bool| sorted.iter().filter(move |(_, is)| *is == kind).map(|(score, _)| *score);
    let (positives, negatives): (Vec<f32>, Vec<f32>) = (of(true).collect(), of(false).collect());
    let all: Vec<f32> = sorted.iter().map(|(score, _)| *score).collect();
    let (of_all, of_positives, of_negatives) = (midranks(&all), midranks(&positives), midranks(&negatives));
    let (m, n) = (positives.len() as f64, negatives.len() as f64);
    let (mut above, mut below) = (Vec::new(), Vec::new());
    for ((_, is_positive), rank) in sorted.iter().zip(&of_all) {
        if *is_positive {
            above.push((rank - of_positives[above.len()]) / n);
        } else {
            below.push(1.0 - (rank - of_negatives[below.len()]) / m);
        }
    }
    let value = above.iter().sum::<f64>() / m;
    let error = (variance(&above) / m + variance(&below) / n).sqrt();
    let inside = value * (1.0 - value);
    let (low, high) = if error > 0.0 && inside > 0.0 {
        let (centre, half) = (libm::log(value / (1.0 - value)), NORMAL_95 * error / inside);
        let back = |x: f64| 1.0 / (1.0 + libm::exp(-x));
        (back(centre - half), back(centre + half))
    } else {
        let open = 1.0 - libm::pow(0.025, 1.0 / m.min(n));
        ((value - open).max(0.0), (value + open).min(1.0))
    };
    Ok(Estimate { value, low, high, positives: m as u64, negatives: n as u64 })
}

/// The mean precision over the recalls: the area under the precision-recall curve as steps, equal scores taken together.
///
/// The interval is the middle 95 % of up to 1000 bootstrap draws within each kind, by a seed; fewer draws, 100 at least, where there are over 200,000 examples.
///
/// # Errors
/// No example of either kind, a score that is not a number.
pub fn average_precision(scored: &[(f32, bool)], seed: u64) -> Result<Estimate, ClassifierError> {
    let mut sorted = sorted(scored)?;
    sorted.reverse();
    let places =
        |kind: bool| -> Vec<usize> { (0..sorted.len()).filter(|at| sorted[*at].1 == kind).collect() };
    let kinds = [places(true), places(false)];
    let mut counts = vec![1_u32; sorted.len()];
    let value = precision(&sorted, &counts);
    let draws = (200_000_000 / sorted.len()).clamp(100, 1000);
    let mut state = mix(seed ^ 0xa5e_1ec7);
    let mut drawn = Vec::with_capacity(draws);
    for _ in 0..draws {
        counts.fill(0);
        for kind in &kinds {
            for _ in kind {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let place = (u128::from(mix(state)) * kind.len() as u128) >> 64;
                counts[kind[place as usize]] += 1;
            }
        }
        drawn.push(precision(&sorted, &counts));
    }
    drawn.sort_by(f64::total_cmp);
    let at = |share: f64| drawn[(share * (draws - 1) as f64).round() as usize];
    let (low, high) = (at(0.025).min(value), at(0.975).max(value));
    let [positives, negatives] = kinds.map(|kind| kind.len() as u64);
    Ok(Estimate { value, low, high, positives, negatives })
}

/// The two-sided 95 % quantile of the normal distribution.
const NORMAL_95: f64 = 1.959_963_984_540_054;

fn sorted(scored: &[(f32, bool)]) -> Result<Vec<(f32, bool)>, ClassifierError> {
    let positives = scored.iter().filter(|(_, is_positive)| *is_positive).count();
    if positives == 0 || positives == scored.len() {
        let what =
            format!("a measure needs examples of both kinds, {positives} of {} are positive", scored.len());
        return Err(ClassifierError::Data(what));
    }
    if scored.iter().any(|(score, _)| score.is_nan()) {
        return Err(ClassifierError::Data("a measure needs scores that are numbers".into()));
    }
    // Adding 0 makes -0 the same as 0.
    let mut sorted: Vec<(f32, bool)> = scored.iter().map(|(score, is)| (score + 0.0, *is)).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(sorted)
}

/// The rank of each of some sorted scores, from 1; equal ones share their mean.
fn midranks(sorted: &[f32]) -> Vec<f64> {
    let mut ranks = Vec::with_capacity(sorted.len());
    for ties in sorted.chunk_by(|a, b| a.total_cmp(b).is_eq()) {
        let rank = ranks.len() as f64 + (ties.len() + 1) as f64 / 2.0;
        ranks.resize(ranks.len() + ties.len(), rank);
    }
    ranks
}

fn variance(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    squares / (values.len() as f64 - 1.0).max(1.0)
}

/// Average precision of scores that fall, each counted so often.
fn precision(falling: &[(f32, bool)], counts: &[u32]) -> f64 {
    let (mut found, mut seen, mut sum) = (0.0, 0.0, 0.0);
    let mut at = 0;
    for ties in falling.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let (mut new, mut all) = (0.0, 0.0);
        for ((_, is_positive), count) in ties.iter().zip(&counts[at..]) {
            all += f64::from(*count);
            new += f64::from(*count) * f64::from(u8::from(*is_positive));
        }
        at += ties.len();
        (found, seen) = (found + new, seen + all);
        if seen > 0.0 {
            sum += new * found / seen;
        }
    }
    sum / found.max(1.0)
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "what is compared is exact")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_curve_of_four_points() {
        let scored = [(0.1, false), (0.4, false), (0.35, true), (0.8, true)];
        let area = roc_auc(&scored).unwrap();
        assert!((area.value - 0.75).abs() < 1e-12, "{area:?}");
        assert!((average_precision(&scored, 1).unwrap().value - 0.833_333_333).abs() < 1e-8);
        assert!(area.low < 0.75 && area.high > 0.75 && area.low > 0.0 && area.high < 1.0);
    }

    #[test]
    fn kinds_that_are_apart_leave_an_interval_open() {
        let scored: Vec<(f32, bool)> = (0..40).map(|at| (at as f32, at >= 20)).collect();
        let area = roc_auc(&scored).unwrap();
        assert!(area.value == 1.0 && area.high == 1.0 && area.low > 0.8 && area.low < 0.9, "{area:?}");
        let turned: Vec<(f32, bool)> = scored.iter().map(|(score, is)| (*score, !is)).collect();
        assert!(roc_auc(&turned).unwrap().value == 0.0);
    }

    proptest! {
        #[test]
        fn the_area_counts_pairs(
            scored in prop::collection::vec((0u8..20, any::<bool>()), 2..80),
        ) {
            let mut scored: Vec<(f32, bool)> = scored.iter().map(|(at, is)| (f32::from(*at), *is)).collect();
            scored.extend([(3.0, true), (9.0, false)]);
            let (mut pairs, mut won) = (0.0, 0.0);
            for (a, _) in scored.iter().filter(|one| one.1) {
                for (b, _) in scored.iter().filter(|one| !one.1) {
                    pairs += 1.0;
                    won += if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 };
                }
            }
            let area = roc_auc(&scored).unwrap();
            prop_assert!((area.value - won / pairs).abs() < 1e-9);
            prop_assert!(0.0 <= area.low && area.low <= area.value && area.value <= area.high && area.high <= 1.0);
        }
    }

    #[test]
    fn one_kind_alone_has_no_measure() {
        assert!(roc_auc(&[(0.1, true)]).is_err());
        assert!(average_precision(&[], 0).is_err());
        assert!(roc_auc(&[(f32::NAN, true), (0.0, false)]).is_err());
    }
}
