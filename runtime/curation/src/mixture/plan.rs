//! Whether a mixture can be read: tokens and epochs of each source.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MixtureError;

/// How far the weights' sum may be from 1.
const SUM_TOLERANCE: f64 = 1e-6;

/// A mixture that can be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MixturePlan {
    /// Tokens in all: the sum of the sources'.
    pub total_tokens: u64,
    /// By name; sources without a weight are left out.
    pub sources: Vec<SourcePlan>,
}

/// What is read of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourcePlan {
    /// Its name.
    pub name: String,
    /// Its share of what is read.
    pub weight: f64,
    /// Tokens that are read.
    pub tokens: u64,
    /// Tokens that it has.
    pub size_tokens: u64,
    /// How often it is read.
    pub epochs: f64,
}

impl MixturePlan {
    /// The plan of a run over `total_tokens` tokens, of sources with weights and sizes in tokens, none of which is read more than `max_epochs` times. Up to four epochs are nearly worth new text
    /// (Muennighoff et al. 2023, arXiv:2305.16264).
    ///
    /// # Errors
    /// A weight out of its range, a sum that is not 1, a weight for a source without a token, and the source that is exhausted soonest, with what would fit.
    pub fn new(
        weights: &BTreeMap<String, f64>,
        sizes_tokens: &BTreeMap<String, u64>,
        total_tokens: u64,
        max_epochs: f64,
    ) -> Result<Self, MixtureError> {
        check(weights, sizes_tokens)?;
        if !(max_epochs > 0.0 && max_epochs.is_finite()) {
            return Err(MixtureError::Fit(format!("`max_epochs` is {max_epochs}, expected above 0")));
        }
        let counts = shares(weights, total_tokens);
        let sources: Vec<SourcePlan> = weights
            .iter()
            .zip(counts)
            .filter(|((_, weight), _)| **weight > 0.0)
            .map(|((name, weight), tokens)| {
                let size_tokens = sizes_tokens.get(name).copied().unwrap_or(0);
                let epochs = tokens as f64 / size_tokens.max(1) as f64;
                SourcePlan { name: name.clone(), weight: *weight, tokens, size_tokens, epochs }
            })
            .collect();
        let worst = sources.iter().max_by(|a, b| a.epochs.total_cmp(&b.epochs));
        match worst.filter(|worst| worst.tokens as f64 > room(worst.size_tokens, max_epochs)) {
            None => Ok(Self { total_tokens, sources }),
            Some(worst) => Err(MixtureError::Exhausted {
                source_name: worst.name.clone(),
                wanted_tokens: worst.tokens,
                size_tokens: worst.size_tokens,
                epochs: worst.epochs,
                max_epochs,
                total_tokens: longest(&sources, max_epochs),
                weights: capped(weights, sizes_tokens, total_tokens, max_epochs),
            }),
        }
    }
}

/// What a source gives at most, tokens.
fn room(size_tokens: u64, max_epochs: f64) -> f64 {
    (size_tokens as f64 * max_epochs).floor()
}

fn check(weights: &BTreeMap<String, f64>, sizes: &BTreeMap<String, u64>) -> Result<(), MixtureError> {
    for (name, weight) in weights {
        if !(0.0..=1.0).contains(weight) {
            return Err(MixtureError::Weight { source_name: name.clone(), weight: *weight });
        }
        if *weight > 0.0 && sizes.get(name).is_none_or(|size| *size == 0) {
            let known = sizes.iter().filter(|(_, size)| **size > 0).map(|(name, _)| name.as_str());
            let known = known.collect::<Vec<_>>().join(", ");
            return Err(MixtureError::Empty { source_name: name.clone(), weight: *weight, known });
        }
    }
    // An empty sum is -0.
    let sum = weights.values().sum::<f64>() + 0.0;
    if (sum - 1.0).abs() > SUM_TOLERANCE {
        return Err(MixtureError::Sum { sum });
    }
    Ok(())
}

/// Whole tokens that sum up to the total: each source's share rounded down, and what is left to those with the largest remainders.
fn shares(weights: &BTreeMap<String, f64>, total: u64) -> Vec<u64> {
    let sum: f64 = weights.values().sum();
    let exact: Vec<f64> = weights.values().map(|weight| weight / sum * total as f64).collect();
    let mut counts: Vec<u64> = exact.iter().map(|share| (share.floor() as u64).min(total)).collect();
    let mut order: Vec<usize> = (0..counts.len()).filter(|at| exact[*at] > 0.0).collect();
    order.sort_by(|a, b| exact[*b].fract().total_cmp(&exact[*a].fract()).then(a.cmp(b)));
    let given: u64 = counts.iter().fold(0, |sum, count| sum.saturating_add(*count));
    let Some(first) = order.first().copied() else { return counts };
    if given > total {
        // Beyond 2^53 a share is not exact.
        let largest = (0..counts.len()).max_by_key(|at| counts[*at]).unwrap_or(first);
        counts[largest] -= (given - total).min(counts[largest]);
        return counts;
    }
    let left = total - given;
    let each = left / order.len() as u64;
    for (at, place) in order.iter().enumerate() {
        counts[*place] += each + u64::from((at as u64) < left % order.len() as u64);
    }
    counts
}

/// The most tokens with these weights.
fn longest(sources: &[SourcePlan], max_epochs: f64) -> u64 {
    let of = |source: &SourcePlan| room(source.size_tokens, max_epochs) / source.weight;
    sources.iter().map(of).fold(f64::INFINITY, f64::min) as u64
}

/// The weights with every source at its limit that would be over it, and the others in their proportion; none where all together are too few.
fn capped(
    weights: &BTreeMap<String, f64>,
    sizes: &BTreeMap<String, u64>,
    total: u64,
    max_epochs: f64,
) -> Option<BTreeMap<String, f64>> {
    let limit = |name: &String| room(sizes.get(name).copied().unwrap_or(0), max_epochs) / total.max(1) as f64;
    let limits: Vec<f64> = weights.keys().map(limit).collect();
    let values: Vec<f64> = weights.values().copied().collect();
    let fitted = cap(&values, &limits)?;
    Some(weights.keys().cloned().zip(fitted).collect())
}

/// Shares of which none is over its limit, those below theirs in the proportion of the weights; none where the limits of what has a weight sum to less than 1.
pub(super) fn cap(weights: &[f64], limits: &[f64]) -> Option<Vec<f64>> {
    let mut out = weights.to_vec();
    let mut is_full = vec![false; weights.len()];
    for _ in 0..=weights.len() {
        let fullness = &is_full;
        let of = |wanted: bool| (0..weights.len()).filter(move |at| fullness[*at] == wanted);
        let full: f64 = of(true).map(|at| limits[at]).sum();
        let free: f64 = of(false).map(|at| weights[at]).sum();
        if free <= 0.0 {
            return ((full - 1.0).abs() < 1e-9).then_some(out);
        }
        let scale = (1.0 - full).max(0.0) / free;
        let over: Vec<usize> = of(false).filter(|at| weights[*at] * scale > limits[*at]).collect();
        for at in 0..weights.len() {
            out[at] = if is_full[at] { limits[at] } else { weights[at] * scale };
        }
        if over.is_empty() {
            return Some(out);
        }
        for at in over {
            is_full[at] = true;
            out[at] = limits[at];
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "what is compared is exact")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map<V: Copy>(of: &[(&str, V)]) -> BTreeMap<String, V> {
        of.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn a_mixture_that_is_there_has_tokens_and_epochs() {
        let plan = MixturePlan::new(
            &map(&[("web", 0.7), ("code", 0.3), ("off", 0.0)]),
            &map(&[("web", 1000), ("code", 100)]),
            1000,
            4.0,
        )
        .unwrap();
        assert_eq!(plan.sources.iter().map(|source| source.tokens).collect::<Vec<_>>(), [300, 700]);
        assert_eq!(plan.sources[0].epochs, 3.0);
    }

    #[test]
    fn the_exhausted_source_is_named_with_what_would_fit() {
        let weights = map(&[("web", 0.5), ("code", 0.4), ("law", 0.1)]);
        let sizes = map(&[("web", 10_000), ("code", 100), ("law", 1000)]);
        let refused = MixturePlan::new(&weights, &sizes, 1000, 2.0).unwrap_err();
        let MixtureError::Exhausted { source_name, total_tokens, weights: fitted, .. } = &refused else {
            panic!("{refused}")
        };
        assert_eq!((source_name.as_str(), *total_tokens), ("code", 500));
        let fitted = fitted.clone().unwrap();
        assert!((fitted["code"] - 0.2).abs() < 1e-12 && (fitted["web"] / fitted["law"] - 5.0).abs() < 1e-9);
        assert!(MixturePlan::new(&fitted, &sizes, 1000, 2.0).is_ok());
        assert!(MixturePlan::new(&weights, &sizes, 500, 2.0).is_ok());
        let text = refused.to_string();
        assert!(text.contains("4.00 epochs of its 100") && text.contains("code: 0.2000"), "{text}");
        let hopeless = MixturePlan::new(&weights, &map(&[("web", 1), ("code", 1), ("law", 1)]), 1000, 1.0);
        assert!(hopeless.unwrap_err().to_string().contains("no weights make this length fit"));
    }

    #[test]
    fn what_is_no_mixture_is_refused() {
        let sizes = map(&[("web", 10), ("code", 0)]);
        let refused = |weights: &[(&str, f64)]| {
            MixturePlan::new(&map(weights), &sizes, 5, 1.0).unwrap_err().to_string()
        };
        assert!(refused(&[("web", 0.9)]).contains("sum to 0.9"));
        assert!(refused(&[]).contains("sum to 0"));
        assert!(refused(&[("web", 0.5), ("code", 0.5)]).contains("\"code\" has weight 0.5 and no token"));
        assert!(refused(&[("web", 0.5), ("poems", 0.5)]).contains("(sources: web)"));
        for weight in [-0.1, 1.5, f64::NAN, f64::INFINITY] {
            assert!(refused(&[("web", weight)]).contains("expected 0 to 1"), "{weight}");
        }
        assert!(MixturePlan::new(&map(&[("web", 1.0)]), &sizes, 5, f64::NAN).is_err());
    }

    proptest! {
        #[test]
        fn tokens_sum_up_and_what_is_said_to_fit_does(
            of in prop::collection::vec((0.0f64..1.0, 1u64..1_000_000), 1..9),
            total in 0u64..3_000_000,
            max_epochs in 0.5f64..5.0,
        ) {
            let sum: f64 = of.iter().map(|one| one.0).sum();
            prop_assume!(sum > 0.01);
            let name = |at: usize| format!("s{at}");
            let weights: BTreeMap<String, f64> =
                of.iter().enumerate().map(|(at, one)| (name(at), (one.0 / sum).min(1.0))).collect();
            let sizes: BTreeMap<String, u64> = of.iter().enumerate().map(|(at, one)| (name(at), one.1)).collect();
            match MixturePlan::new(&weights, &sizes, total, max_epochs) {
                Ok(plan) => {
                    prop_assert_eq!(plan.sources.iter().map(|source| source.tokens).sum::<u64>(), total);
                    prop_assert!(plan.sources.iter().all(|source| source.epochs <= max_epochs));
                }
                Err(MixtureError::Exhausted { total_tokens, weights: fitted, .. }) => {
                    prop_assert!(total_tokens < total);
                    // Rounding to whole tokens may take one more of a source.
                    let short = total_tokens.saturating_sub(of.len() as u64 * 10_000);
                    prop_assert!(MixturePlan::new(&weights, &sizes, short, max_epochs).is_ok());
                    if let Some(fitted) = fitted {
                        prop_assert!((fitted.values().sum::<f64>() - 1.0).abs() < 1e-9);
                        let over = fitted.iter().any(|(name, weight)| {
                            weight * total as f64 > sizes[name] as f64 * max_epochs + 1.0
                        });
                        prop_assert!(!over);
                    }
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
