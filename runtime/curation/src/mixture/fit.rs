//! From small runs to the mixture of the least loss, with what is not known of it.

use std::collections::BTreeMap;

use cupola_specs::artifact::Interval;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::MixtureError;
use super::best::Best;
use super::plan::cap;
use super::runs::{Draws, ProxyRuns};
use super::simulate::{candidates, concentration, mean_mixture};
use super::validate::{CrossValidation, Fitted, cross_validate};

/// A rank correlation under which a fit says hardly anything.
const WEAK: f64 = 0.7;
/// A share over the runs' by less isn't worth a caveat, and would be printed as theirs.
const BEYOND: f64 = 0.001;

/// How a mixture is fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitOptions {
    /// Of every draw.
    pub seed: u64,
    /// Parts of the cross-validation, 2 to 20.
    pub folds: usize,
    /// Bootstrap samples of the runs, 10 to 1000.
    pub draws: usize,
    /// Mixtures that are tried, 100 to 1,000,000.
    pub candidates: usize,
    /// The best of them, whose mean is the result; 1 to a tenth of them.
    pub top: usize,
    /// Where candidates are looked for: a weight for each source. Default: the mean of the runs' mixtures.
    pub prior: BTreeMap<String, f64>,
    /// The largest weight of a source, where it has one: its tokens times the epochs that are allowed, over the length of the run.
    pub limits: BTreeMap<String, f64>,
}

impl Default for FitOptions {
    fn default() -> Self {
        let (prior, limits) = (BTreeMap::new(), BTreeMap::new());
        Self { seed: 0, folds: 5, draws: 100, candidates: 10_000, top: 100, prior, limits }
    }
}

/// The mixture of the least loss that can be expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MixtureFit {
    /// Weight by source, the mean of the best candidates; the prior's where all are predicted alike. The interval is the middle 95 % of the bootstrap's.
    /// A mean doesn't reach a corner: where the best is all of one source, the interval ends short of 1.
    pub weights: BTreeMap<String, Interval>,
    /// What a run like the proxies with these weights would come to: the interval has the fit's uncertainty and the scatter of single runs.
    pub predicted_loss: Interval,
    /// The same for the prior.
    pub prior_loss: Interval,
    /// How both regressors did; the first is used.
    pub cross_validation: Vec<CrossValidation>,
    /// The best of the runs: its number and its loss.
    pub best_run: (usize, f64),
    /// Why the fit is weak.
    pub caveats: Vec<String>,
}

impl MixtureFit {
    /// The weights alone; they sum to 1.
    pub fn values(&self) -> BTreeMap<String, f64> {
        self.weights.iter().map(|(name, weight)| (name.clone(), weight.value)).collect()
    }
}

/// Fits mixture → loss by both regressors, takes the one that orders held-out runs better, tries candidates around the prior and averages the best. The bootstrap does the same with
/// runs and candidates drawn anew, so that its intervals have what both leave open.
/// The result is the same for any number of threads; they are the caller's (rayon's pool).
///
/// # Errors
/// Options out of range, a table that can't be fitted, names that are no source, limits that leave no mixture.
pub fn fit_mixture(runs: &ProxyRuns, options: &FitOptions) -> Result<MixtureFit, MixtureError> {
    options.check()?;
    let runs = runs.checked()?;
    let prior = options.prior(&runs)?;
    let limits = options.limits(&runs)?;
    let around = concentration(&runs);
    let best = |fitted: &Fitted, draws: Draws| {
        let tried = candidates(&prior, limits.as_deref(), around, draws).take(options.candidates);
        Best::of(tried.map(|mixture| (fitted.predict(&mixture), mixture)), options.top)
    };
    let validated = cross_validate(&runs, options.folds, options.seed);
    let chosen = &validated[0];
    let fitted = Fitted::new(&runs, chosen);
    // Where nothing says which is better, the prior stays.
    let unmoved =
        || limits.as_deref().and_then(|limits| cap(&prior, limits)).unwrap_or_else(|| prior.clone());
    let central = best(&fitted, Draws::new(options.seed, 2)).mean().unwrap_or_else(unmoved);
    let draws: Vec<Draw> = (0..options.draws)
        .into_par_iter()
        .map(|at| {
            let mut draws = Draws::new(options.seed, 1000 + at as u64);
            let places: Vec<usize> = runs.losses.iter().map(|_| draws.below(runs.losses.len())).collect();
            let fitted = Fitted::new(&runs.take(&places), chosen);
            // Predicted minus measured, of a run that was held out.
            let scatter = chosen.residuals[draws.below(chosen.residuals.len())];
            Draw {
                loss: fitted.predict(&central) - scatter,
                prior_loss: fitted.predict(&prior) - scatter,
                mixture: best(&fitted, draws).sample(),
            }
        })
        .collect();
    let weight = |at: usize| interval(central[at], draws.iter().map(|draw| draw.mixture[at]).collect());
    let losses = runs.losses.iter().copied().enumerate();
    let best_run = losses.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, f64::NAN));
    let caveats = caveats(&runs, chosen, &central);
    Ok(MixtureFit {
        weights: runs.domains.iter().enumerate().map(|(at, name)| (name.clone(), weight(at))).collect(),
        predicted_loss: interval(fitted.predict(&central), draws.iter().map(|draw| draw.loss).collect()),
        prior_loss: interval(fitted.predict(&prior), draws.iter().map(|draw| draw.prior_loss).collect()),
        cross_validation: validated.to_vec(),
        best_run,
        caveats,
    })
}

/// What a bootstrap sample came to.
struct Draw {
    mixture: Vec<f64>,
    loss: f64,
    prior_loss: f64,
}

impl FitOptions {
    fn check(&self) -> Result<(), MixtureError> {
        let fields = [
            ("folds", self.folds, 2, 20),
            ("draws", self.draws, 10, 1000),
            ("candidates", self.candidates, 100, 1_000_000),
            ("top", self.top, 1, self.candidates / 10),
        ];
        for (name, value, low, high) in fields {
            if !(low..=high).contains(&value) {
                return Err(MixtureError::Fit(format!("`{name}` is {value}, expected {low} to {high}")));
            }
        }
        Ok(())
    }

    fn prior(&self, runs: &ProxyRuns) -> Result<Vec<f64>, MixtureError> {
        if self.prior.is_empty() {
            return Ok(mean_mixture(runs));
        }
        let weights = by_domain(&self.prior, 0.0, runs)?;
        let sum: f64 = weights.iter().sum();
        if (sum - 1.0).abs() > 1e-6 {
            return Err(MixtureError::Sum { sum });
        }
        Ok(weights)
    }

    fn limits(&self, runs: &ProxyRuns) -> Result<Option<Vec<f64>>, MixtureError> {
        if self.limits.is_empty() {
            return Ok(None);
        }
        let capped = self.limits.iter().map(|(name, limit)| (name.clone(), limit.min(1.0))).collect();
        let limits = by_domain(&capped, 1.0, runs)?;
        // Only sources of the prior are tried.
        let reachable = limits.iter().zip(self.prior(runs)?).filter(|(_, prior)| *prior > 0.0);
        let most: f64 = reachable.map(|(limit, _)| limit).sum();
        if most < 1.0 {
            let what = format!(
                "the limits of the sources sum to {most:.4}, so that no mixture fits; make the run shorter or allow more epochs"
            );
            return Err(MixtureError::Fit(what));
        }
        Ok(Some(limits))
    }
}

/// A value for each source, in the runs' order.
fn by_domain(
    values: &BTreeMap<String, f64>,
    default: f64,
    runs: &ProxyRuns,
) -> Result<Vec<f64>, MixtureError> {
    for (name, value) in values {
        if !runs.domains.contains(name) {
            let known = runs.domains.join(", ");
            return Err(MixtureError::Fit(format!("the runs have no source {name:?} (sources: {known})")));
        }
        if !(0.0..=1.0).contains(value) {
            return Err(MixtureError::Weight { source_name: name.clone(), weight: *value });
        }
    }
    Ok(runs.domains.iter().map(|name| values.get(name).copied().unwrap_or(default)).collect())
}

fn interval(value: f64, mut drawn: Vec<f64>) -> Interval {
    drawn.sort_by(f64::total_cmp);
    let at = |share: f64| drawn[(share * (drawn.len() - 1) as f64).round() as usize];
    Interval { value, low: at(0.025).min(value), high: at(0.975).max(value) }
}

fn caveats(runs: &ProxyRuns, chosen: &CrossValidation, central: &[f64]) -> Vec<String> {
    let mut out = Vec::new();
    if chosen.spearman < WEAK {
        out.push(format!(
            "the better regressor orders held-out runs with a rank correlation of {:.2}: more runs are needed, or the mixture hardly matters",
            chosen.spearman
        ));
    }
    if runs.losses.len() < 4 * runs.domains.len() {
        out.push(format!("{} runs for {} sources", runs.losses.len(), runs.domains.len()));
    }
    for (at, name) in runs.domains.iter().enumerate() {
        let most = runs.mixtures.iter().map(|mixture| mixture[at]).fold(0.0, f64::max);
        if central[at] > most + BEYOND {
            out.push(format!(
                "source {name:?} has {:.3}, and no run had more than {most:.3} of it",
                central[at]
            ));
        }
    }
    out
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;
