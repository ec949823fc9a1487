//! A plan as text.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use cupola_specs::spec::Code;
use serde::Serialize;

use super::{Action, Decision, Estimate, Plan, StepEstimate};
use crate::report::format;

/// How many steps do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PlanCounts {
    /// Steps whose artifact is there.
    pub cached: usize,
    /// Steps that run from their start.
    pub run: usize,
    /// Steps that go on at a checkpoint.
    pub resume: usize,
}

impl PlanCounts {
    /// Counts decisions.
    pub fn of(decisions: &[Decision]) -> Self {
        let mut counts = Self { cached: 0, run: 0, resume: 0 };
        for decision in decisions {
            match decision.action {
                Action::Cached => counts.cached += 1,
                Action::Run => counts.run += 1,
                Action::Resume { .. } => counts.resume += 1,
            }
        }
        counts
    }
}

/// What `cupola plan` prints: the table of steps, what they take, and what does not fit.
pub fn render_plan(plan: &Plan, decisions: &[Decision], estimate: &Estimate) -> String {
    let table = step_table(plan, decisions, estimate);
    let counts = PlanCounts::of(decisions);
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let mut text = format!(
        "plan of {}: {} to run, {} to resume, {} cached\n\n{}\n",
        plan.spec_name,
        counts.run,
        counts.resume,
        counts.cached,
        lines.join("\n")
    );
    if let Some(takes) = takes(estimate) {
        let _ = writeln!(text, "\n{takes}");
    }
    match estimate.num_unknown - estimate.num_measurable {
        0 => {}
        1 => text.push_str("the time of one step is known only once it has run here\n"),
        count => {
            let _ = writeln!(text, "the time of {count} steps is known only once they have run here");
        }
    }
    if estimate.num_measurable > 0 {
        let _ = writeln!(text, "`cupola plan --measure` tells the time of trainings that never ran here");
    }
    for warning in &estimate.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    for refusal in &estimate.refusals {
        let _ = writeln!(text, "error[{}]: {refusal}", Code::TooMuchMemory.as_str());
    }
    if !estimate.refusals.is_empty() {
        let _ = writeln!(text, "`cupola apply` refuses this plan: {}", Code::TooMuchMemory.advice());
    }
    text
}

/// The table of steps, with times and memory where any is known.
fn step_table(plan: &Plan, decisions: &[Decision], estimate: &Estimate) -> Table {
    let is_timed = estimate.steps.iter().flatten().any(|step| step.secs.is_some());
    let is_sized = estimate
        .steps
        .iter()
        .flatten()
        .any(|step| step.peak_bytes.is_some() || step.device_peak_bytes.is_some());
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    let header = ["STEP", "KIND", "ACTION", "CORES", "TIME", "MEMORY", "FINGERPRINT", "WHY"];
    let is_shown = |name: &&str| (is_timed || *name != "TIME") && (is_sized || *name != "MEMORY");
    table.set_header(header.into_iter().filter(is_shown));
    for (at, decision) in decisions.iter().enumerate() {
        let action = match decision.action {
            Action::Cached => "cached".to_owned(),
            Action::Run => "run".to_owned(),
            Action::Resume { at_step } => format!("resume at {at_step}"),
        };
        let cores = plan.step(&decision.step).map_or(0, |planned| planned.step.settings.cores);
        let mut row = vec![
            Cell::new(&decision.step),
            Cell::new(decision.kind),
            Cell::new(action),
            Cell::new(cores).set_alignment(CellAlignment::Right),
        ];
        if is_timed {
            let time = match estimate.steps.get(at).and_then(Option::as_ref) {
                Some(StepEstimate { secs: Some(secs), .. }) => format::duration(*secs),
                Some(_) => "?".to_owned(),
                None => String::new(),
            };
            row.push(Cell::new(time).set_alignment(CellAlignment::Right));
        }
        if is_sized {
            let memory = estimate.steps.get(at).and_then(Option::as_ref).map_or_else(String::new, memory_of);
            row.push(Cell::new(memory).set_alignment(CellAlignment::Right));
        }
        row.extend([Cell::new(&decision.fingerprint[..12]), Cell::new(decision.why())]);
        table.add_row(row);
    }
    table
}

/// The memory of a step: of each rank, and of the device where its tensors are on one.
fn memory_of(step: &StepEstimate) -> String {
    let of_device = step.device_peak_bytes.map(|peak| format!("{} of the device", format::memory(peak)));
    let peak = of_device.or_else(|| step.peak_bytes.map(format::memory));
    match (peak, step.ranks) {
        (Some(peak), 2..) => format!("{} × {peak}", step.ranks),
        (Some(peak), _) => peak,
        (None, _) => "?".to_owned(),
    }
}

/// What a plan takes in one line; none where nothing of it is known.
fn takes(estimate: &Estimate) -> Option<String> {
    let resources = estimate.resources;
    let mut parts = Vec::new();
    if estimate.wall_secs > 0.0 {
        let unknown = match estimate.num_unknown {
            0 => String::new(),
            1 => ", without one step whose time is not known".to_owned(),
            count => format!(", without {count} steps whose time is not known"),
        };
        parts.push(format!(
            "about {} on {} cores ({} of work){unknown}",
            format::duration(estimate.wall_secs),
            resources.cores,
            format::duration(estimate.work_secs)
        ));
    }
    if estimate.training_flops > 0.0 {
        parts.push(format!("{:.2e} FLOPs of training", estimate.training_flops));
    }
    let of = |there: u64, words: &str| {
        if there > 0 { format!(" of {}{words}", format::memory(there)) } else { String::new() }
    };
    if estimate.peak_bytes > 0 {
        parts.push(format!(
            "memory {}{}",
            format::memory(estimate.peak_bytes),
            of(resources.memory_bytes, "")
        ));
    }
    if estimate.disk_bytes > 0 {
        parts.push(format!(
            "disk {}{}",
            format::memory(estimate.disk_bytes),
            of(resources.free_bytes, " free")
        ));
    }
    parts.extend(estimate.usd.filter(|usd| *usd > 0.0).map(format::usd));
    for tokens in estimate.steps.iter().flatten().filter_map(|step| step.tokens) {
        let there = tokens.available.map(|there| format!(" of {}", format::short(there as f64)));
        parts.push(format!("{}{} tokens", format::short(tokens.needed), there.unwrap_or_default()));
    }
    (!parts.is_empty()).then(|| format!("it takes {}", parts.join("; ")))
}

/// The plan for machines.
pub fn plan_json(plan: &Plan, decisions: &[Decision], estimate: &Estimate) -> serde_json::Value {
    let steps: Vec<serde_json::Value> = decisions
        .iter()
        .enumerate()
        .map(|(at, decision)| {
            let mut object = serde_json::json!(decision);
            if let (Some(planned), Some(map)) = (plan.step(&decision.step), object.as_object_mut()) {
                map.insert("why".to_owned(), decision.why().into());
                map.insert("needs".to_owned(), planned.step.needs().into());
                map.insert("inputs".to_owned(), serde_json::json!(planned.inputs));
                map.insert("params".to_owned(), serde_json::json!(planned.step.params));
                map.insert("cores".to_owned(), planned.step.settings.cores.into());
                map.insert("num_files".to_owned(), planned.files.len().into());
                map.insert("estimate".to_owned(), serde_json::json!(estimate.steps.get(at)));
            }
            object
        })
        .collect();
    serde_json::json!({
        "spec": plan.spec_name,
        "plan_hash": plan.hash(),
        "counts": PlanCounts::of(decisions),
        "estimate": estimate,
        "steps": steps,
    })
}
