//! Tables that several commands print.

use std::collections::BTreeMap;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::report::format;
use crate::state::{Expected, RunRow, RunView, StepState, StepView};

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

/// The jobs of a run with how many of their steps are in each state; those with open steps first, `limit` at most.
pub(super) fn job_table(run: &RunRow, limit: usize) -> String {
    let states: Vec<StepState> = run.counts().into_keys().collect();
    let mut counts_of: BTreeMap<&str, (usize, BTreeMap<StepState, usize>)> = BTreeMap::new();
    for (at, step) in run.steps.iter().enumerate() {
        let job = if step.job.is_empty() { "(shared)" } else { step.job.as_str() };
        let (_, counts) = counts_of.entry(job).or_insert_with(|| (at, BTreeMap::new()));
        *counts.entry(step.state).or_insert(0) += 1;
    }
    let left = counts_of.len().saturating_sub(limit);
    let mut jobs: Vec<_> = counts_of.into_iter().collect();
    jobs.sort_by_cached_key(|(_, (first, counts))| (counts.keys().all(|state| state.is_done()), *first));
    let heads = states.iter().map(|state| state.as_str().to_uppercase());
    let heads: Vec<String> = ["JOB".to_owned(), "STEPS".to_owned()].into_iter().chain(heads).collect();
    let mut table = plain_table(&heads.iter().map(String::as_str).collect::<Vec<_>>());
    let mut add = |name: &str, counts: &BTreeMap<StepState, usize>| {
        let numbers = std::iter::once(counts.values().sum::<usize>());
        let numbers = numbers.chain(states.iter().map(|state| counts.get(state).copied().unwrap_or(0)));
        let cells = numbers.map(|number| Cell::new(number).set_alignment(CellAlignment::Right));
        table.add_row(std::iter::once(Cell::new(name)).chain(cells));
    };
    for (name, (_, counts)) in jobs.iter().take(limit) {
        add(name, counts);
    }
    add("all", &run.counts());
    let text = text_of(&table);
    if left > 0 { format!("{text}\n({left} jobs more)") } else { text }
}

/// What the plan expected of a step's time and memory, and once it is done how far off that was; empty where it said nothing.
fn estimated(step: &StepView) -> (String, String) {
    let beside = |told: String, off: Option<String>| match off {
        Some(off) => format!("{told} ({off})"),
        None => told,
    };
    let is_done = step.state == StepState::Succeeded;
    let Expected { secs, peak_bytes } = if step.cached { Expected::default() } else { step.expected };
    let wall = step.wall_millis(0).filter(|_| is_done).map(|wall| wall as f64 / 1000.0);
    let peak = Some(step.peak_rss_bytes as f64).filter(|peak| is_done && *peak > 0.0);
    let time = secs.map(|secs| beside(format::duration(secs), wall.map(|wall| format::off(secs, wall))));
    let memory =
        peak_bytes.map(|told| beside(format::memory(told), peak.map(|peak| format::off(told as f64, peak))));
    (time.unwrap_or_default(), memory.unwrap_or_default())
}

/// The steps of a run: state, time, share of the time, memory, attempts.
pub(super) fn step_table(run: &RunView, now_millis: i64) -> String {
    let ran: Vec<&StepView> = run.steps.iter().filter(|step| !step.cached).collect();
    let total: i64 = ran.iter().filter_map(|step| step.wall_millis(now_millis)).sum();
    let is_expected = ran.iter().any(|step| step.expected != Expected::default());
    let heads =
        ["STEP", "STATE", "TIME", "ESTIMATED", "SHARE", "CPU", "PEAK MEMORY", "ESTIMATED", "ATTEMPTS"];
    let is_shown = |head: &str| is_expected || head != "ESTIMATED";
    let mut table = plain_table(&heads.into_iter().filter(|head| is_shown(head)).collect::<Vec<_>>());
    for step in &run.steps {
        let wall = step.wall_millis(now_millis);
        let share = match wall {
            Some(wall) if !step.cached && total > 0 => format::percent(wall as f64 / total as f64),
            _ => String::new(),
        };
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        let (time, memory) = estimated(step);
        let cells = [
            Cell::new(&step.name),
            Cell::new(step.state.as_str()),
            right(wall.map_or_else(String::new, |wall| format::duration(wall as f64 / 1000.0))),
            right(time),
            right(share),
            right(if step.cpu_millis > 0 {
                format::duration(step.cpu_millis as f64 / 1000.0)
            } else {
                String::new()
            }),
            right(if step.peak_rss_bytes > 0 { format::memory(step.peak_rss_bytes) } else { String::new() }),
            right(memory),
            right(if step.attempts.is_empty() { String::new() } else { step.attempts.len().to_string() }),
        ];
        table.add_row(heads.iter().zip(cells).filter(|(head, _)| is_shown(head)).map(|(_, cell)| cell));
    }
    let elapsed = run.ended_millis.unwrap_or(now_millis) - run.created_millis;
    format!("{}\n\nwall time {}", text_of(&table), format::duration(elapsed as f64 / 1000.0))
}
