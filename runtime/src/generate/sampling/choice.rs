//! Choices among a vocabulary's logits, without a sort of the whole vocabulary. Sums have one fixed order, so that a choice has the same bits on every
//! machine.

pub(super) use cupola_kernels::decode::logit_peak as peak;
use cupola_kernels::decode::{sum_of_weights, weight_of as exp};

use crate::generate::ScoredToken;

/// The largest logit and the log of the sum of exponentials; none where [`peak`] gives none.
pub(in crate::generate) fn log_sum_exp(logits: &[f32]) -> Option<(f32, f64)> {
    let peak = peak(logits)?;
    Some((peak, f64::from(peak) + sum_of_weights(logits, peak, 1.0).ln()))
}

/// A token with its log-probability and the `top` likeliest tokens of the same logits.
pub(in crate::generate) fn scored(logits: &[f32], normalizer: f64, token: u32, top: usize) -> ScoredToken {
    let logprob = |id: u32| (f64::from(logits[id as usize]) - normalizer) as f32;
    let top = largest(logits, top).into_iter().map(|id| (id, logprob(id))).collect();
    ScoredToken { token, logprob: logprob(token), top }
}

/// The first token with this logit.
pub(super) fn first_of(logits: &[f32], peak: f32) -> u32 {
    logits.iter().position(|&logit| logit >= peak).unwrap_or(0) as u32
}

/// The `count` likeliest tokens, best first; of equal ones the lowest first.
fn largest(logits: &[f32], count: usize) -> Vec<u32> {
    let count = count.min(logits.len());
    if count == 0 {
        return Vec::new();
    }
    let by_rank = |a: &u32, b: &u32| {
        let (first, second) = (logits[*a as usize], logits[*b as usize]);
        second.partial_cmp(&first).unwrap_or(std::cmp::Ordering::Equal).then_with(|| a.cmp(b))
    };
    // What is held is cut down to `count` now and then; afterwards only what is larger than the least of them comes in.
    let room = (4 * count + 64).min(logits.len());
    let mut held: Vec<u32> = Vec::with_capacity(room);
    let mut floor = None;
    for (id, &logit) in logits.iter().enumerate() {
        if floor.is_some_and(|floor| logit <= floor) {
            continue;
        }
        held.push(id as u32);
        if held.len() == room && count < room {
            held.select_nth_unstable_by(count - 1, by_rank);
            held.truncate(count);
            floor = Some(logits[held[count - 1] as usize]);
        }
    }
    if count < held.len() {
        held.select_nth_unstable_by(count - 1, by_rank);
        held.truncate(count);
    }
    held.sort_unstable_by(by_rank);
    held
}

/// What is kept of a vocabulary before a draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Filter {
    /// Divides the logits; over 0.
    pub temperature: f64,
    /// See [`super::Sampling`].
    pub top_k: usize,
    /// See [`super::Sampling`].
    pub top_p: f64,
    /// See [`super::Sampling`].
    pub min_p: f64,
}

/// Nuclei are looked for among this many of the likeliest tokens, and then among eight times as many.
const FIRST_NUCLEUS: usize = 128;

impl Filter {
    /// The tokens that can be drawn, in ascending order, with their weights; the likeliest one's is 1. As in Hugging Face's generation code
    /// top-k keeps every token that is as likely as its last one, top-p counts within what top-k left, and min-p comes last.
    pub(super) fn candidates(&self, logits: &[f32], peak: f32) -> Vec<(u32, f32)> {
        // A temperature near 0 must not make the difference 0 a NaN.
        let scale = (1.0 / self.temperature).min(f64::from(f32::MAX)) as f32;
        let weigh = |id: u32| (id, exp((logits[id as usize] - peak) * scale));
        let mut kept: Vec<(u32, f32)> = if self.top_k > 0 && self.top_k < logits.len() {
            let likeliest = largest(logits, self.top_k);
            let last = likeliest.last().map_or(f32::NEG_INFINITY, |&id| logits[id as usize]);
            let ties = logits.iter().zip(0u32..).filter(|&(&logit, _)| logit >= last).count();
            // Those that tie with the last one stand behind it.
            let likeliest = if ties > likeliest.len() { largest(logits, ties) } else { likeliest };
            let mut ranked: Vec<(u32, f32)> = likeliest.into_iter().map(weigh).collect();
            let mass = ranked.iter().map(|&(_, weight)| f64::from(weight)).sum();
            ranked.truncate(self.nucleus(&ranked, mass).unwrap_or(ranked.len()));
            ranked
        } else if self.top_p < 1.0 {
            let mass = sum_of_weights(logits, peak, scale);
            let mut count = FIRST_NUCLEUS;
            loop {
                let mut ranked: Vec<(u32, f32)> = largest(logits, count).into_iter().map(weigh).collect();
                let nucleus = self.nucleus(&ranked, mass);
                if nucleus.is_some() || count >= logits.len() {
                    ranked.truncate(nucleus.unwrap_or(ranked.len()));
                    break ranked;
                }
                count *= 8;
            }
        } else {
            (0..logits.len() as u32).map(weigh).collect()
        };
        if self.min_p > 0.0 {
            kept.retain(|&(_, weight)| f64::from(weight) >= self.min_p);
        }
        kept.sort_unstable_by_key(|&(id, _)| id);
        kept
    }

    /// How many of the likeliest tokens it takes until their weights reach top-p of `mass`; none where all of them don't.
    fn nucleus(&self, ranked: &[(u32, f32)], mass: f64) -> Option<usize> {
        let mut sum = 0.0;
        let last = ranked.iter().position(|&(_, weight)| {
            sum += f64::from(weight);
            sum >= mass * self.top_p
        })?;
        (self.top_p < 1.0).then_some(last + 1)
    }
}

/// Walks weights in order until `uniform` of their sum is passed.
pub(super) fn draw(weights: &[(u32, f32)], uniform: f64) -> Option<u32> {
    let total: f64 = weights.iter().map(|&(_, weight)| f64::from(weight)).sum();
    let mut left = uniform * total;
    let mut last = None;
    for &(id, weight) in weights {
        if weight > 0.0 {
            left -= f64::from(weight);
            last = Some(id);
            if left < 0.0 {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sums_and_peaks_see_every_lane() {
        for len in [1, 5, 16, 17, 40] {
            for at in 0..len {
                let mut logits = vec![0.5f32; len];
                logits[at] = 2.0;
                assert_eq!((peak(&logits), first_of(&logits, 2.0)), (Some(2.0), at as u32));
                let expected = (2f64.exp() + (len - 1) as f64 * 0.5f64.exp()).ln();
                assert!((log_sum_exp(&logits).unwrap().1 - expected).abs() < 1e-6);
                for bad in [f32::NAN, f32::INFINITY] {
                    logits[at] = bad;
                    assert_eq!(peak(&logits), None);
                }
            }
        }
        assert_eq!(peak(&[f32::NEG_INFINITY; 20]), None);
        assert_eq!(peak(&[f32::NEG_INFINITY, -3.0]), Some(-3.0));
    }

    proptest! {
        #[test]
        fn what_is_largest_is_what_a_full_sort_says(
            logits in prop::collection::vec(-3i8..9, 1..600), count in 0usize..700
        ) {
            let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
            let mut order: Vec<u32> = (0..logits.len() as u32).collect();
            order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
            order.truncate(count);
            prop_assert_eq!(largest(&logits, count), order);
        }

        #[test]
        fn a_nucleus_is_what_a_full_sort_says(
            logits in prop::collection::vec(-4.0f32..4.0, 1..3000), top_p in 0.05f64..0.999, sharp in 0.2f32..4.0
        ) {
            let logits: Vec<f32> = logits.into_iter().map(|logit| logit * sharp).collect();
            let filter = Filter { temperature: 1.0, top_k: 0, top_p, min_p: 0.0 };
            let peak = peak(&logits).unwrap();
            let mass = sum_of_weights(&logits, peak, 1.0);
            let mut ids: Vec<u32> = Vec::new();
            let mut sum = 0.0;
            for id in largest(&logits, logits.len()) {
                if sum >= mass * top_p {
                    break;
                }
                ids.push(id);
                sum += f64::from(exp(logits[id as usize] - peak));
            }
            ids.sort_unstable();
            let kept: Vec<u32> = filter.candidates(&logits, peak).into_iter().map(|(id, _)| id).collect();
            prop_assert_eq!(kept, ids);
        }
    }
}
