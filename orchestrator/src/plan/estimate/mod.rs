//! What a plan takes, told before anything runs.
//!
//! Training compute is counted, not guessed: the sizes of a network and its tokens are in the parameters. Where a size comes from an artifact
//! that is not there yet (a law's recommendation), nothing is said of it.
//!
//! * Memory of a training follows from what its operations keep (`activations`, `memory`).
//! * Its time is that of its passes and updates (`work`). `cupola plan --measure` has a worker run a few of that very training, a trial, and the journal
//!   keeps what they took. Without one it is that of their operations at the rates of the machine, which the same command measures, corrected by
//!   what steps took before: the last run of the step itself, else of its kind. Without rates those of a usual core give the proportions
//!   between steps, and nothing is said before one of them has run.
//! * Time, memory and disk of other steps are those of the last run of a step of that name.

mod activations;
mod flops;
mod memory;
mod pace;
mod past;
mod rates;
mod resources;
mod stages;
mod totals;
mod training;
mod usual;
mod work;

#[cfg(test)]
mod tests;

use cupola_specs::contract::Trial;
use cupola_specs::job::{Device, StepParams};
use cupola_specs::spec::Budget;
use serde::Serialize;

pub use flops::{training_flops, training_flops_of};
pub use memory::{Fitting, MemoryEstimate, Moment};
pub use rates::{KnownRates, MACHINE_RATES, RatesOf, TRIALS, trial_name};
pub use resources::Resources;

use self::flops::floor_disk_bytes;
use self::pace::Pace;
use self::past::{Past, Taken};
use self::training::Training;
use super::{Action, Decision, Plan, PlannedStep, Step};
use crate::state::{Projection, StateError};

/// What one step takes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StepEstimate {
    /// FLOPs of training; none where it trains nothing or its size is not known yet.
    pub training_flops: Option<f64>,
    /// Seconds from its start to its end.
    pub secs: Option<f64>,
    /// Seconds by the machine's measured rates alone, whatever past runs took.
    pub secs_by_rates: Option<f64>,
    /// Seconds by a trial of its trainings.
    pub secs_by_trial: Option<f64>,
    /// Seconds of one optimiser step.
    pub optimizer_step_secs: Option<f64>,
    /// Where its time is from.
    pub secs_from: Option<SecsFrom>,
    /// Processes that share it.
    pub ranks: u32,
    /// Peak resident memory of each of them, bytes.
    pub peak_bytes: Option<u64>,
    /// The most that tensors take on the CUDA device of each, bytes.
    pub device_peak_bytes: Option<u64>,
    /// What its training holds of that, on the device where that is a CUDA one.
    pub memory: Option<MemoryEstimate>,
    /// How its training fits where it does not as it is.
    pub fitting: Option<Fitting>,
    /// Output and checkpoints, bytes.
    pub disk_bytes: Option<u64>,
    /// Tokens that training reads.
    pub tokens: Option<TokenNeed>,
}

impl StepEstimate {
    /// Peak resident memory of all its ranks together, bytes.
    pub fn total_bytes(&self) -> Option<u64> {
        Some(self.peak_bytes?.saturating_mul(u64::from(self.ranks.max(1))))
    }
}

/// Where a time is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecsFrom {
    /// A trial of its trainings.
    Trial,
    /// The machine's measured rates.
    Rates,
    /// The last run of this step, scaled by the work where it is known.
    SameStep,
    /// The last runs of steps of its kind, scaled by the work.
    SameKind,
    /// The last runs of any training, scaled by the work.
    AnyTraining,
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
    /// Those of them that are trainings whose time this machine's rates would tell, were they measured. That of the others is known once they ran.
    pub num_measurable: usize,
    /// FLOPs of training, as far as they are known.
    pub training_flops: f64,
    /// The largest peak of a step, all its ranks together, bytes.
    pub peak_bytes: u64,
    /// Outputs and checkpoints, bytes.
    pub disk_bytes: u64,
    /// US dollars, where the spec states a price.
    pub usd: Option<f64>,
    /// What the machine has.
    pub resources: Resources,
    /// What does not fit.
    pub warnings: Vec<String>,
    /// What `apply` refuses: trainings that take more memory than the machine has, beyond what the estimate may be off by.
    pub refusals: Vec<String>,
}

/// The trainings of a step as the journal keeps them; null where it has none.
pub fn trainings_json(
    plan: &Plan,
    planned: &PlannedStep,
    projection: &Projection,
) -> Result<serde_json::Value, StateError> {
    let all = if trains(planned) { Past::new(plan, projection).trainings(planned)? } else { Vec::new() };
    Ok(if all.is_empty() { serde_json::Value::Null } else { serde_json::json!(all) })
}

/// A step as it is estimated.
struct Draft {
    trainings: Vec<Training>,
    taken: Option<Taken>,
}

/// Estimates what the steps of a plan take that are not cached.
pub fn estimate(
    plan: &Plan,
    decisions: &[Decision],
    projection: &Projection,
    rates: &KnownRates,
    (resources, budget): (Resources, &Budget),
) -> Result<Estimate, StateError> {
    let past = Past::new(plan, projection);
    let is_cached = |decision: &Decision| decision.action == Action::Cached;
    let trains_anew =
        plan.steps.iter().zip(decisions).any(|(planned, decision)| !is_cached(decision) && trains(planned));
    let mut drafts = Vec::with_capacity(plan.steps.len());
    for (planned, decision) in plan.steps.iter().zip(decisions) {
        // What a cached step took says how long others of its kind take.
        let is_wanted = !is_cached(decision) || (trains_anew && trains(planned));
        drafts.push(if is_wanted {
            let trainings = if is_cached(decision) { Vec::new() } else { past.trainings(planned)? };
            Some(Draft { trainings, taken: past.of(planned)? })
        } else {
            None
        });
    }
    let pace = Pace::of(plan, &drafts, rates);
    let mut steps = Vec::with_capacity(plan.steps.len());
    for ((planned, decision), draft) in plan.steps.iter().zip(decisions).zip(drafts) {
        steps.push(match draft {
            Some(draft) if !is_cached(decision) => {
                Some(of_step(plan, planned, draft, (&pace, &past, resources)))
            }
            _ => None,
        });
    }
    Ok(totals::add_up(plan, steps, (resources, budget)))
}

/// What a trial of each training of a step runs, with the rates that it is done at.
pub fn trials(
    plan: &Plan,
    planned: &PlannedStep,
    projection: &Projection,
) -> Result<Vec<(RatesOf, Trial)>, StateError> {
    let all = if trains(planned) { Past::new(plan, projection).trainings(planned)? } else { Vec::new() };
    Ok(all.iter().filter_map(|training| Some((training.rates_of(), training.trial()?))).collect())
}

/// The rates that tell the time of a step; none where it trains nothing.
pub fn needed_rates(step: &Step) -> Option<RatesOf> {
    let precision = match &step.params {
        StepParams::Sweep(params) => params.precision,
        StepParams::Pretrain(params) => params.precision,
        StepParams::Sft(params) => params.precision,
        StepParams::RewardModel(params) => params.precision,
        StepParams::Optimize(params) => params.precision,
        _ => return None,
    };
    let settings = &step.settings;
    let of_machine = (stages::threads_of(step), settings.parallel.data.max(1));
    Some(RatesOf::new(settings.device, of_machine, precision))
}

/// Whether a step trains a network.
fn trains(planned: &PlannedStep) -> bool {
    needed_rates(&planned.step).is_some()
}

fn of_step(
    plan: &Plan,
    planned: &PlannedStep,
    draft: Draft,
    (pace, past, resources): (&Pace, &Past, Resources),
) -> StepEstimate {
    let Draft { mut trainings, taken } = draft;
    let training_flops = training_flops_of(plan, &planned.step).or_else(|| {
        let flops: Vec<f64> = trainings.iter().filter_map(Training::flops).collect();
        (flops.len() == trainings.len() && !flops.is_empty()).then(|| flops.iter().sum())
    });
    let timed = pace.secs(planned, &trainings, (training_flops, taken.as_ref()));
    let secs = timed.map(|(secs, _)| secs);
    for training in &mut trainings {
        training.secs = secs;
    }
    let known = |of: fn(&Taken) -> u64| taken.as_ref().map(of).filter(|bytes| *bytes > 0);
    let settings = &planned.step.settings;
    let largest = trainings.iter().max_by_key(|training| memory::memory(training).peak_bytes);
    let memory = largest.map(memory::memory).map(|memory| MemoryEstimate {
        peak_bytes: corrected_peak(memory.peak_bytes, taken.as_ref()),
        ..memory
    });
    let estimated = memory.map(|memory| memory.peak_bytes);
    let is_on_device = settings.device == Device::Cuda;
    let peak_bytes = estimated.filter(|_| !is_on_device).or_else(|| known(|taken| taken.peak_bytes));
    // Of one rank's share of what there is.
    let limits = [resources.memory_bytes, settings.memory_limit_bytes];
    let there = limits
        .into_iter()
        .filter(|limit| *limit > 0)
        .min()
        .map(|limit| limit / u64::from(settings.parallel.data.max(1)));
    let is_over = there.zip(peak_bytes).is_some_and(|(there, peak)| peak > there);
    let fitting =
        largest.zip(there).filter(|_| is_over).and_then(|(training, there)| memory::fitting(training, there));
    let floor = floor_disk_bytes(plan, &planned.step);
    StepEstimate {
        training_flops,
        secs,
        secs_by_rates: pace.secs_by_rates(&trainings),
        secs_by_trial: pace.secs_by_trial(&trainings),
        optimizer_step_secs: pace.optimizer_step_secs(planned, &trainings),
        secs_from: timed.map(|(_, from)| from),
        ranks: settings.parallel.data.max(1),
        peak_bytes,
        device_peak_bytes: estimated.filter(|_| is_on_device),
        memory,
        fitting,
        disk_bytes: known(|taken| taken.artifact_bytes).max(floor),
        tokens: past.tokens(&planned.step),
    }
}

/// A peak, corrected by how far the estimate of the step's last run was off, where that is known.
fn corrected_peak(peak: u64, taken: Option<&Taken>) -> u64 {
    let Some(taken) = taken.filter(|taken| taken.peak_bytes > 0) else { return peak };
    let before = taken.trainings.iter().map(|training| memory::memory(training).peak_bytes).max();
    match before.filter(|before| *before > 0 && taken.is_on_cpu()) {
        Some(before) => {
            let off = (taken.peak_bytes as f64 / before as f64).clamp(MOST_OFF.recip(), MOST_OFF);
            (peak as f64 * off) as u64
        }
        None => peak,
    }
}

/// Most that a past run corrects an estimate of memory by: beyond, it was another program.
const MOST_OFF: f64 = 1.5;
