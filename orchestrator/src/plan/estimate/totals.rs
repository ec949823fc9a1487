//! Adding up, and saying what does not fit.

use std::collections::HashMap;

use cupola_specs::spec::Budget;

use super::{Estimate, Resources, StepEstimate};
use crate::plan::Plan;
use crate::report::format;

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
        could_measure: known().any(|step| step.secs.is_none() && step.training_flops.is_some()),
        training_flops: known().filter_map(|step| step.training_flops).sum(),
        peak_bytes: known().filter_map(|step| step.peak_bytes).max().unwrap_or(0),
        disk_bytes: known().filter_map(|step| step.disk_bytes).sum(),
        usd: (price > 0.0).then_some(device_secs / 3_600.0 * price),
        resources,
        warnings: Vec::new(),
        steps: Vec::new(),
    };
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
        for (there, words) in [(memory_bytes, "there are"), (limit, "its `resources.memory` is")] {
            if let Some(peak) = step.peak_bytes.filter(|peak| there > 0 && *peak > there) {
                let (peak, there) = (format::memory(peak), format::memory(there));
                let help = what_helps(step);
                warnings.push(format!("`{name}` takes {peak} of memory, and {words} {there}{help}"));
            }
        }
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

/// What takes the memory of a training that does not fit, and what can be done.
fn what_helps(step: &StepEstimate) -> String {
    let Some(memory) = step.memory else { return String::new() };
    let (state, pass) = (format::memory(memory.state_bytes), format::memory(memory.pass_bytes));
    let held = format!(": weights, gradients and optimiser {state}, a pass over its micro-batch {pass}");
    match step.micro_rows {
        Some((_, Some(fits))) => {
            format!("{held}; `batch.micro_batch: {fits}` fits, at the same `global_tokens`")
        }
        _ => format!(
            "{held}; a micro-batch of one does not fit either: lower `context.length` or the model's size"
        ),
    }
}
