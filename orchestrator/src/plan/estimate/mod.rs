//! What a plan takes, told before anything runs.
//!
//! Training compute is counted, not guessed: the sizes of a network and its tokens are in the parameters. Where a size comes from an artifact
//! that is not there yet (a law's recommendation, the chats of a corpus), nothing is said. Time, memory and disk are those of the last run of
//! a step of that name, time in proportion to compute where both are known; a network's own bytes are the least that it takes.

mod flops;
mod network;
mod past;
mod resources;
mod totals;

#[cfg(test)]
mod tests;

use cupola_specs::spec::Budget;
use serde::Serialize;

pub use flops::{training_flops, training_flops_of};
pub use network::{flops_per_token, num_params, total_params};
pub use resources::Resources;

use self::network::floor_bytes;
use self::past::{Past, Taken};
use super::{Action, Decision, Plan};
use crate::state::{Projection, StateError};

/// What one step takes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StepEstimate {
    /// FLOPs of training; none where it trains nothing or its size is not known yet.
    pub training_flops: Option<f64>,
    /// Seconds from its start to its end.
    pub secs: Option<f64>,
    /// Peak memory, bytes.
    pub peak_bytes: Option<u64>,
    /// Memory that it takes at least, bytes: what a network and its training can't do without.
    pub least_memory_bytes: Option<u64>,
    /// Output and checkpoints, bytes.
    pub disk_bytes: Option<u64>,
    /// Tokens that training reads.
    pub tokens: Option<TokenNeed>,
}

/// Tokens that training reads, and those that there are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TokenNeed {
    /// Tokens that are read, repeats counted.
    pub needed: f64,
    /// Tokens of the corpus; none where it is not encoded yet and never was.
    pub available: Option<u64>,
}

/// What a plan takes; cached steps take nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// By step, in the plan's order; none for cached steps.
    #[serde(skip)]
    pub steps: Vec<Option<StepEstimate>>,
    /// Seconds of all steps together.
    pub work_secs: f64,
    /// Seconds by the clock: no less than the longest chain of steps, no less than the work over the cores.
    pub wall_secs: f64,
    /// Steps whose time nobody knows; the two above are without them.
    pub num_unknown: usize,
    /// FLOPs of training, as far as they are known.
    pub training_flops: f64,
    /// The largest peak of a step, bytes.
    pub peak_bytes: u64,
    /// Outputs and checkpoints, bytes.
    pub disk_bytes: u64,
    /// US dollars, where the spec states a price.
    pub usd: Option<f64>,
    /// What the machine has.
    pub resources: Resources,
    /// What does not fit.
    pub warnings: Vec<String>,
}

/// Estimates what the steps of a plan take that are not cached.
pub fn estimate(
    plan: &Plan,
    decisions: &[Decision],
    projection: &Projection,
    (resources, budget): (Resources, &Budget),
) -> Result<Estimate, StateError> {
    let past = Past::new(plan, projection);
    let mut steps = Vec::with_capacity(plan.steps.len());
    let mut taken = Vec::with_capacity(plan.steps.len());
    for (planned, decision) in plan.steps.iter().zip(decisions) {
        let is_cached = decision.action == Action::Cached;
        taken.push(if is_cached { None } else { past.of(&planned.step.name)? });
        steps.push((!is_cached).then(|| StepEstimate {
            training_flops: training_flops_of(plan, &planned.step),
            tokens: past.tokens(&planned.step),
            ..StepEstimate::default()
        }));
    }
    // How fast this machine trains, by the largest training that it remembers.
    let rates = taken.iter().flatten().filter(|taken| taken.training_flops > 0.0 && taken.secs > 0.0);
    let rate = rates.max_by(|a, b| a.training_flops.total_cmp(&b.training_flops));
    let rate = rate.map(|taken| taken.training_flops / taken.secs);
    for ((step, taken), planned) in steps.iter_mut().zip(&taken).zip(&plan.steps) {
        let Some(step) = step else { continue };
        step.secs = secs_of(step, taken.as_ref(), rate);
        let floor = floor_bytes(plan, &planned.step);
        let known = |of: fn(&Taken) -> u64| taken.as_ref().map(of).filter(|bytes| *bytes > 0);
        step.peak_bytes = known(|taken| taken.peak_bytes);
        step.least_memory_bytes = floor.map(|(memory, _)| memory);
        step.disk_bytes = known(|taken| taken.artifact_bytes).max(floor.map(|(_, disk)| disk));
    }
    Ok(totals::add_up(plan, steps, (resources, budget)))
}

fn secs_of(step: &StepEstimate, taken: Option<&Taken>, rate: Option<f64>) -> Option<f64> {
    match (step.training_flops, taken) {
        (Some(flops), Some(taken)) if taken.training_flops > 0.0 => {
            Some(taken.secs * flops / taken.training_flops)
        }
        (_, Some(taken)) => Some(taken.secs),
        (Some(flops), None) => rate.map(|rate| flops / rate),
        (None, None) => None,
    }
}
