//! Small runs that differ in their mixtures.

use serde::{Deserialize, Serialize};

use super::MixtureError;
use crate::classifier::rows::mix;

/// The most runs and sources that are fitted: the work grows with both.
const MAX_RUNS: usize = 100_000;
const MAX_DOMAINS: usize = 1000;

/// Runs of one size, with the mixture and the loss of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProxyRuns {
    /// The sources.
    pub domains: Vec<String>,
    /// The share of each source, run by run. They are scaled to a sum of 1.
    pub mixtures: Vec<Vec<f64>>,
    /// The loss of each run on what counts, nats or bits: the result has their unit.
    pub losses: Vec<f64>,
}

impl ProxyRuns {
    /// The fewest runs that a regression is tried on.
    pub const LEAST: usize = 16;

    /// The runs with shares that sum to 1.
    ///
    /// # Errors
    /// A table whose sides differ in length, too few runs or sources or too many, a value that is not a share or not a number.
    pub(super) fn checked(&self) -> Result<Self, MixtureError> {
        let bad = |what: String| Err(MixtureError::Fit(what));
        let (runs, domains) = (self.losses.len(), self.domains.len());
        if runs != self.mixtures.len() {
            return bad(format!("{} mixtures and {runs} losses", self.mixtures.len()));
        }
        if !(Self::LEAST..=MAX_RUNS).contains(&runs) || !(2..=MAX_DOMAINS).contains(&domains) {
            return bad(format!(
                "{runs} runs over {domains} sources; {} to {MAX_RUNS} runs over 2 to {MAX_DOMAINS} sources can be fitted",
                Self::LEAST
            ));
        }
        let mut mixtures: Vec<Vec<f64>> = Vec::with_capacity(runs);
        for (at, (mixture, loss)) in self.mixtures.iter().zip(&self.losses).enumerate() {
            let sum: f64 = mixture.iter().sum();
            let is_mixture = mixture.len() == domains && mixture.iter().all(|share| *share >= 0.0);
            if !is_mixture || !sum.is_finite() || sum <= 0.0 {
                return bad(format!("run {at} has no mixture of {domains} shares of 0 or more"));
            }
            if !loss.is_finite() {
                return bad(format!("run {at} has the loss {loss}; leave runs out that diverged"));
            }
            mixtures.push(mixture.iter().map(|share| share / sum).collect());
        }
        let is_read = |at: usize| mixtures.iter().any(|mixture| mixture[at] > 0.0);
        if let Some(at) = (0..domains).find(|at| !is_read(*at)) {
            let name = &self.domains[at];
            return bad(format!("no run reads {name:?}, so that nothing says what it is good for"));
        }
        Ok(Self { domains: self.domains.clone(), mixtures, losses: self.losses.clone() })
    }

    /// Some of the runs, which may come twice.
    pub(super) fn take(&self, places: &[usize]) -> Self {
        Self {
            domains: self.domains.clone(),
            mixtures: places.iter().map(|at| self.mixtures[*at].clone()).collect(),
            losses: places.iter().map(|at| self.losses[*at]).collect(),
        }
    }
}

/// Numbers that a seed names.
#[derive(Debug, Clone)]
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self(mix(seed ^ mix(stream ^ 0x3a1_57e5)))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Above 0 and below 1.
    pub(super) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }

    pub(super) fn normal(&mut self) -> f64 {
        let (a, b) = (self.unit(), self.unit());
        (-2.0 * libm::log(a)).sqrt() * libm::cos(std::f64::consts::TAU * b)
    }
}
