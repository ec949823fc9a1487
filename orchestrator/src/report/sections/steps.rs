//! What ran, in which order, and where time and money went.

use std::fmt::Write;

use super::{Figure, Section, Table};
use crate::report::format::{duration, escape, memory, off, percent, usd};
use crate::report::{ReportFacts, StepFacts, graph};
use crate::state::{Expected, StepState};

const ROW: f64 = 26.0;
const NAME: f64 = 190.0;
const WIDTH: f64 = 480.0;

/// Steps, times and costs.
pub(super) fn section(facts: &ReportFacts) -> Option<Section> {
    if facts.steps.is_empty() {
        return None;
    }
    let mut figures = vec![Figure {
        title: "The plan".to_owned(),
        svg: graph::steps_svg(&facts.steps),
        legend: Vec::new(),
        wide: false,
    }];
    figures.extend(time_figure(facts));
    Some(Section {
        id: "steps",
        title: "What ran, and where the time went".to_owned(),
        lead: lead(facts),
        figures,
        tables: std::iter::once(table(facts)).chain(estimates(facts)).collect(),
        notes: notes(facts),
        ..Section::default()
    })
}

fn lead(facts: &ReportFacts) -> String {
    let done = facts.steps.iter().filter(|step| step.state.is_done()).count();
    let cached = facts.steps.iter().filter(|step| step.state == crate::state::StepState::Cached).count();
    let cost = facts.usd(facts.total_secs()).map(|cost| format!(" ({})", usd(cost))).unwrap_or_default();
    let from_store = if cached == 0 {
        String::new()
    } else {
        format!(" {cached} of them came from the store: their times are of the run that made them.")
    };
    format!(
        "{done} of {} steps have their artifact; together they took {} of wall time{cost}.{from_store}",
        facts.steps.len(),
        duration(facts.total_secs())
    )
}

fn table(facts: &ReportFacts) -> Table {
    let total = facts.total_secs();
    let row = |step: &StepFacts| {
        let wall = step.wall_secs;
        let mut cells = vec![
            step.name.clone(),
            step.state.as_str().to_owned(),
            wall.map_or("–".to_owned(), duration),
            wall.filter(|_| total > 0.0).map_or("–".to_owned(), |secs| percent(secs / total)),
            if step.cpu_secs > 0.0 { duration(step.cpu_secs) } else { "–".to_owned() },
            if step.peak_rss_bytes > 0 { memory(step.peak_rss_bytes) } else { "–".to_owned() },
            step.attempts.to_string(),
        ];
        if facts.usd_per_device_hour > 0.0 {
            cells.push(wall.and_then(|secs| facts.usd(secs)).map_or("–".to_owned(), usd));
        }
        cells
    };
    let mut heads = vec!["step", "state", "wall time", "share", "processor time", "peak memory", "attempts"];
    if facts.usd_per_device_hour > 0.0 {
        heads.push("cost");
    }
    Table { title: "Time and cost by step".to_owned(), heads, rows: facts.steps.iter().map(row).collect() }
}

/// What the plan said before and what it came to, for the steps that ran and that it said something of.
fn estimates(facts: &ReportFacts) -> Option<Table> {
    let row = |step: &StepFacts| {
        let Expected { secs, peak_bytes } = step.expected;
        let (wall, peak) = (step.wall_secs.filter(|_| secs.is_some()), step.peak_rss_bytes);
        let peak = Some(peak).filter(|peak| *peak > 0 && peak_bytes.is_some());
        if step.state != StepState::Succeeded || (wall.is_none() && peak.is_none()) {
            return None;
        }
        let mut cells = vec![step.name.clone()];
        match (secs, wall) {
            (Some(secs), Some(wall)) => cells.extend([duration(secs), duration(wall), off(secs, wall)]),
            _ => cells.extend(["–"; 3].map(str::to_owned)),
        }
        match (peak_bytes, peak) {
            (Some(told), Some(peak)) => {
                cells.extend([memory(told), memory(peak), off(told as f64, peak as f64)]);
            }
            _ => cells.extend(["–"; 3].map(str::to_owned)),
        }
        Some(cells)
    };
    let rows: Vec<Vec<String>> = facts.steps.iter().filter_map(row).collect();
    let heads = vec!["step", "time estimated", "taken", "off", "peak memory estimated", "taken", "off"];
    let title = "What the plan estimated, and what was taken".to_owned();
    (!rows.is_empty()).then_some(Table { title, heads, rows })
}

fn notes(facts: &ReportFacts) -> Vec<String> {
    let warned = facts.steps.iter().filter(|step| !step.warnings.is_empty());
    let mut lines: Vec<String> = Vec::new();
    for step in warned {
        let mut codes: Vec<(&str, &str, usize)> = Vec::new();
        for (code, message) in &step.warnings {
            match codes.iter_mut().find(|known| known.0 == code) {
                Some(known) => known.2 += 1,
                None => codes.push((code, message, 1)),
            }
        }
        for (code, message, times) in codes {
            let often = if times > 1 { format!(" ({times} times)") } else { String::new() };
            lines.push(format!("{} warned {code}{often}: {message}", step.name));
        }
    }
    lines
}

/// One bar a step, longest first; steps under a hundredth of the total share one bar.
fn time_figure(facts: &ReportFacts) -> Option<Figure> {
    let total = facts.total_secs();
    let mut rows: Vec<(String, f64)> =
        facts.steps.iter().filter_map(|step| Some((step.name.clone(), step.wall_secs?))).collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    let large = rows.iter().filter(|row| row.1 >= total * 0.01).count();
    let rest: f64 = rows.iter().skip(large).map(|row| row.1).sum();
    let others = rows.len() - large;
    rows.truncate(large);
    if others > 0 {
        rows.push((format!("{others} shorter steps"), rest));
    }
    let longest = rows.iter().map(|row| row.1).fold(0.0, f64::max);
    if longest <= 0.0 {
        return None;
    }
    let height = rows.len() as f64 * ROW + 4.0;
    let mut svg = format!(
        r#"<svg class="bars" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Wall time by step; the table below has the numbers.">"#
    );
    for (index, (name, secs)) in rows.iter().enumerate() {
        let top = index as f64 * ROW + 3.0;
        let length = (secs / longest * (WIDTH - NAME - 84.0)).max(1.5);
        let _ = write!(
            svg,
            r#"<text class="name" x="{:.1}" y="{:.1}" text-anchor="end">{}</text><rect class="bar" x="{NAME}" y="{top:.1}" width="{length:.1}" height="18" rx="3"/><text class="note" x="{:.1}" y="{:.1}">{}</text>"#,
            NAME - 8.0,
            top + 13.5,
            escape(name),
            NAME + length + 6.0,
            top + 13.5,
            duration(*secs)
        );
    }
    svg.push_str("</svg>");
    Some(Figure { title: "Wall time by step".to_owned(), svg, legend: Vec::new(), wide: false })
}
