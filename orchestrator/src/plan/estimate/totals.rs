//! Adding up, and saying what does not fit.

use std::collections::HashMap;

use cupola_specs::job::Recompute;
use cupola_specs::spec::Budget;

use super::{Estimate, Fitting, Resources, StepEstimate};
use crate::plan::{Plan, PlannedStep};
use crate::report::format;

/// What an estimate of memory is within: a training that would fit if it were off by that is not refused.
const ACCURACY: f64 = 1.15;

/// The estimate of a plan from those of its steps.
pub(super) fn add_up(
    plan: &Plan,
    steps: Vec<Option<StepEstimate>>,
    (resources, budget): (Resources, &Budget),
) -> Estimate {
    let known = || steps.iter().flatten();
    let secs = |step: &StepEstimate| step.secs.unwrap_or(0.0);
    let with_settings =
        || steps.iter().zip(&plan.steps).filter_map(|(step, planned)| Some((step.as_ref()?, planned)));
    let core_secs: f64 =
        with_settings().map(|(step, planned)| secs(step) * f64::from(planned.step.settings.cores)).sum();
    let device_secs: f64 = with_settings()
        .map(|(step, planned)| secs(step) * f64::from(planned.step.settings.devices.max(1)))
        .sum();
    let wall_secs = longest_chain(plan, &steps).max(core_secs / f64::from(resources.cores.max(1)));
    let price = budget.usd_per_device_hour;
    let mut estimate = Estimate {
        work_secs: known().map(secs).sum(),
        wall_secs,
        num_unknown: known().filter(|step| step.secs.is_none()).count(),
        num_measurable: known().filter(|step| step.secs.is_none() && step.training_flops.is_some()).count(),
        training_flops: known().filter_map(|step| step.training_flops).sum(),
        peak_bytes: known().filter_map(StepEstimate::total_bytes).max().unwrap_or(0),
        disk_bytes: known().filter_map(|step| step.disk_bytes).sum(),
        usd: (price > 0.0).then_some(device_secs / 3_600.0 * price),
        resources,
        warnings: Vec::new(),
        refusals: Vec::new(),
        steps: Vec::new(),
    };
    estimate.refusals = steps
        .iter()
        .zip(&plan.steps)
        .filter(|(step, planned)| step.as_ref().is_some_and(|step| is_refused(step, planned, resources)))
        .filter_map(|(step, planned)| {
            over_memory(step.as_ref()?, planned, (resources.memory_bytes, "there are"))
        })
        .collect();
    estimate.warnings = warnings(plan, &steps, &estimate, budget);
    estimate.steps = steps;
    estimate
}

/// Seconds of the longest chain of steps that wait for each other.
fn longest_chain(plan: &Plan, steps: &[Option<StepEstimate>]) -> f64 {
    let mut ends: HashMap<&str, f64> = HashMap::with_capacity(plan.steps.len());
    let mut longest = 0.0f64;
    for (planned, step) in plan.steps.iter().zip(steps) {
        let waits = planned.step.waits_for().filter_map(|name| ends.get(name)).copied();
        let start = waits.fold(0.0, f64::max);
        let end = start + step.as_ref().and_then(|step| step.secs).unwrap_or(0.0);
        longest = longest.max(end);
        ends.insert(&planned.step.name, end);
    }
    longest
}

fn warnings(
    plan: &Plan,
    steps: &[Option<StepEstimate>],
    estimate: &Estimate,
    budget: &Budget,
) -> Vec<String> {
    let Resources { memory_bytes, free_bytes, .. } = estimate.resources;
    let mut warnings = Vec::new();
    for (planned, step) in plan.steps.iter().zip(steps) {
        let (name, Some(step)) = (&planned.step.name, step) else { continue };
        let limit = planned.step.settings.memory_limit_bytes;
        if !is_refused(step, planned, estimate.resources) {
            warnings.extend(over_memory(step, planned, (memory_bytes, "there are")));
        }
        warnings.extend(over_memory(step, planned, (limit, "its `resources.memory` is")));
        let Some((needed, available)) =
            step.tokens.and_then(|tokens| Some((tokens.needed, tokens.available?)))
        else {
            continue;
        };
        if needed > available as f64 {
            warnings.push(format!(
                "`{name}` reads {} tokens, and its corpus has {}: each is read {:.1} times",
                format::short(needed),
                format::short(available as f64),
                needed / available.max(1) as f64
            ));
        }
    }
    if free_bytes > 0 && estimate.disk_bytes > free_bytes {
        warnings.push(format!(
            "outputs and checkpoints take at least {}, and {} are free on the disk of the state folder",
            format::bytes(estimate.disk_bytes),
            format::bytes(free_bytes)
        ));
    }
    let budget_secs = budget.hours * 3_600.0;
    if budget_secs > 0.0 && estimate.wall_secs > budget_secs {
        warnings.push(format!(
            "it takes about {}, and the budget is {}",
            format::duration(estimate.wall_secs),
            format::duration(budget_secs)
        ));
    }
    warnings
}

/// Whether a training can't fit the machine, even where its estimate is off by as much as it may be.
fn is_refused(step: &StepEstimate, planned: &PlannedStep, resources: Resources) -> bool {
    let there = resources.memory_bytes as f64;
    let is_training = step.memory.is_some() && step.device_peak_bytes.is_none();
    let is_over = step.total_bytes().is_some_and(|bytes| there > 0.0 && bytes as f64 > ACCURACY * there);
    is_training && is_over && !planned.step.settings.overcommit
}

/// What is said of a step that takes more memory than there is; none where it fits, or where nobody says what there is.
fn over_memory(step: &StepEstimate, planned: &PlannedStep, (there, words): (u64, &str)) -> Option<String> {
    let total = step.total_bytes().filter(|bytes| there > 0 && *bytes > there)?;
    let of_ranks = match (step.ranks, step.peak_bytes) {
        (2.., Some(peak)) => format!(" ({} ranks of {})", step.ranks, format::memory(peak)),
        _ => String::new(),
    };
    let (name, help) = (&planned.step.name, what_helps(step));
    let (total, there) = (format::memory(total), format::memory(there));
    Some(format!("`{name}` takes {total} of memory{of_ranks}, and {words} {there}{help}"))
}

/// What takes the memory of a training that does not fit, and what can be done.
fn what_helps(step: &StepEstimate) -> String {
    let Some(memory) = step.memory else { return String::new() };
    let (state, pass) = (format::memory(memory.state_bytes), format::memory(memory.pass_bytes));
    let held = format!(": weights, gradients and optimiser {state}, a pass over its micro-batch {pass}");
    match step.fitting {
        Some(Fitting { micro_rows, recompute: Recompute::None }) => {
            format!("{held}; `batch.micro_batch: {micro_rows}` fits, at the same `global_tokens`")
        }
        Some(Fitting { micro_rows, recompute: Recompute::Blocks }) => {
            format!(
                "{held}; with `recompute: blocks` `batch.micro_batch: {micro_rows}` fits, at the same `global_tokens`"
            )
        }
        None => format!(
            "{held}; a micro-batch of one does not fit either: lower `context.length` or the model's size"
        ),
    }
}
