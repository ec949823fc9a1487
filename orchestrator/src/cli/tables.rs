//! Tables that several commands print.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::report::format;
use crate::state::{RunView, StepView};

/// An empty table in the house's style.
pub(super) fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    table
}

/// A table's text without blanks at the ends of lines.
pub(super) fn text_of(table: &Table) -> String {
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// The steps of a run: state, time, share of the time, memory, attempts.
pub(super) fn step_table(run: &RunView, now_millis: i64) -> String {
    let ran: Vec<&StepView> = run.steps.iter().filter(|step| !step.cached).collect();
    let total: i64 = ran.iter().filter_map(|step| step.wall_millis(now_millis)).sum();
    let mut table = plain_table(&["STEP", "STATE", "TIME", "SHARE", "CPU", "PEAK MEMORY", "ATTEMPTS"]);
    for step in &run.steps {
        let wall = step.wall_millis(now_millis);
        let share = match wall {
            Some(wall) if !step.cached && total > 0 => format::percent(wall as f64 / total as f64),
            _ => String::new(),
        };
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(&step.name),
            Cell::new(step.state.as_str()),
            right(wall.map_or_else(String::new, |wall| format::duration(wall as f64 / 1000.0))),
            right(share),
            right(if step.cpu_millis > 0 {
                format::duration(step.cpu_millis as f64 / 1000.0)
            } else {
                String::new()
            }),
            right(if step.peak_rss_bytes > 0 { format::memory(step.peak_rss_bytes) } else { String::new() }),
            right(if step.attempts.is_empty() { String::new() } else { step.attempts.len().to_string() }),
        ]);
    }
    let elapsed = run.ended_millis.unwrap_or(now_millis) - run.created_millis;
    format!("{}\n\nwall time {}", text_of(&table), format::duration(elapsed as f64 / 1000.0))
}
