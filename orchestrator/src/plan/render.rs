//! A plan as text.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::{Action, Decision, Plan};

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

/// The table that `cupola plan` prints.
pub fn render_plan(plan: &Plan, decisions: &[Decision]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["STEP", "KIND", "ACTION", "CORES", "FINGERPRINT", "WHY"]);
    for decision in decisions {
        let action = match decision.action {
            Action::Cached => "cached".to_owned(),
            Action::Run => "run".to_owned(),
            Action::Resume { at_step } => format!("resume at {at_step}"),
        };
        let cores = plan.step(&decision.step).map_or(0, |planned| planned.step.settings.cores);
        table.add_row([
            Cell::new(&decision.step),
            Cell::new(decision.kind),
            Cell::new(action),
            Cell::new(cores).set_alignment(CellAlignment::Right),
            Cell::new(&decision.fingerprint[..12]),
            Cell::new(decision.why()),
        ]);
    }
    let counts = PlanCounts::of(decisions);
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    format!(
        "plan of {}: {} to run, {} to resume, {} cached\n\n{}\n",
        plan.spec_name,
        counts.run,
        counts.resume,
        counts.cached,
        lines.join("\n")
    )
}

/// The plan for machines.
pub fn plan_json(plan: &Plan, decisions: &[Decision]) -> serde_json::Value {
    let steps: Vec<serde_json::Value> = decisions
        .iter()
        .map(|decision| {
            let mut object = serde_json::json!(decision);
            if let (Some(planned), Some(map)) = (plan.step(&decision.step), object.as_object_mut()) {
                map.insert("why".to_owned(), decision.why().into());
                map.insert("needs".to_owned(), planned.step.needs().into());
                map.insert("inputs".to_owned(), serde_json::json!(planned.inputs));
                map.insert("params".to_owned(), serde_json::json!(planned.step.params));
                map.insert("cores".to_owned(), planned.step.settings.cores.into());
                map.insert("num_files".to_owned(), planned.files.len().into());
            }
            object
        })
        .collect();
    serde_json::json!({
        "spec": plan.spec_name,
        "plan_hash": plan.hash(),
        "counts": PlanCounts::of(decisions),
        "steps": steps,
    })
}
