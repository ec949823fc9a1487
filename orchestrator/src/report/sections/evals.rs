//! Every number of every evaluation, with its interval, its n and what a guess would give.

use std::fmt::Write;

use cupola_specs::artifact::ReportRow;

use super::{Figure, Section, Table};
use crate::report::ReportFacts;
use crate::report::chart::linear_ticks;
use crate::report::format::{count, escape, is_share, metric, percent, words};

const WIDTH: f64 = 480.0;
const ROW: f64 = 34.0;
const NAME: f64 = 118.0;
const RIGHT: f64 = 22.0;

/// Suites but for contamination, which has a section of its own.
pub(super) fn section(facts: &ReportFacts) -> Option<Section> {
    let rows: Vec<&ReportRow> = facts
        .evals
        .iter()
        .flat_map(|eval| &eval.facts.rows)
        .filter(|row| row.suite != "contamination")
        .collect();
    if rows.is_empty() {
        return None;
    }
    let mut groups: Vec<(&str, &str)> = Vec::new();
    for row in &rows {
        if !groups.contains(&(&row.suite, &row.metric)) {
            groups.push((&row.suite, &row.metric));
        }
    }
    let figures = groups.iter().filter_map(|(suite, name)| {
        let of_group = |row: &&&ReportRow| row.suite == *suite && row.metric == *name;
        figure(&rows.iter().filter(of_group).copied().collect::<Vec<_>>())
    });
    Some(Section {
        id: "evals",
        title: "Evaluation".to_owned(),
        lead: "All on text that no model was trained on. Lines are 95 % intervals; a dashed line is what a guess gives."
            .to_owned(),
        figures: figures.collect(),
        tables: vec![table(&rows)],
        ..Section::default()
    })
}

fn table(rows: &[&ReportRow]) -> Table {
    let line = |row: &&ReportRow| {
        vec![
            words(&row.suite),
            row.model.clone(),
            words(&row.metric),
            metric(&row.metric, row.value),
            format!("{} to {}", metric(&row.metric, row.low), metric(&row.metric, row.high)),
            row.chance.map_or("–".to_owned(), |chance| metric(&row.metric, chance)),
            count(row.n),
            row.method.clone(),
        ]
    };
    Table {
        title: "Numbers".to_owned(),
        heads: vec!["suite", "model", "metric", "value", "95 % interval", "chance", "n", "how"],
        rows: rows.iter().map(line).collect(),
    }
}

/// A dot with its interval for each model.
fn figure(rows: &[&ReportRow]) -> Option<Figure> {
    let first = rows.first()?;
    let values = rows.iter().flat_map(|row| [row.value, row.low, row.high]);
    let values: Vec<f64> = values.chain(first.chance).filter(|value| value.is_finite()).collect();
    let (low, high) = (
        values.iter().copied().fold(f64::INFINITY, f64::min),
        values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    );
    if !(low.is_finite() && high.is_finite()) {
        return None;
    }
    let margin = ((high - low) * 0.12).max(low.abs() * 0.01).max(1e-6);
    let range = (low - margin, high + margin);
    let height = rows.len() as f64 * ROW + 40.0;
    let better = if first.higher_is_better { "higher is better" } else { "lower is better" };
    let title = format!("{}: {} ({better})", words(&first.suite), words(&first.metric));
    let mut svg = format!(
        r#"<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{}; the table below has the numbers.">"#,
        escape(&title)
    );
    draw_axis(&mut svg, &first.metric, range, height);
    if let Some(chance) = first.chance {
        let x = place(chance, range);
        let _ =
            write!(svg, r#"<line class="chance" x1="{x:.1}" x2="{x:.1}" y1="6" y2="{:.1}"/>"#, height - 34.0);
    }
    for (index, row) in rows.iter().enumerate() {
        draw_row(&mut svg, index, row, range);
    }
    svg.push_str("</svg>");
    Some(Figure { title, svg, legend: Vec::new(), wide: false })
}

fn place(value: f64, (low, high): (f64, f64)) -> f64 {
    NAME + (value - low) / (high - low) * (WIDTH - NAME - RIGHT)
}

fn draw_axis(svg: &mut String, name: &str, range: (f64, f64), height: f64) {
    let floor = height - 34.0;
    let _ = write!(
        svg,
        r#"<line class="axis" x1="{NAME}" x2="{:.1}" y1="{floor}" y2="{floor}"/>"#,
        WIDTH - RIGHT
    );
    for tick in linear_ticks(range, 5) {
        let x = place(tick, range);
        let text = if is_share(name) { percent(tick) } else { metric(name, tick) };
        let text = text.replace(".0 %", " %");
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="6" y2="{floor}"/><text class="tick" x="{x:.1}" y="{:.1}" text-anchor="middle">{text}</text>"#,
            floor + 18.0
        );
    }
}

fn draw_row(svg: &mut String, index: usize, row: &ReportRow, range: (f64, f64)) {
    let y = 8.0 + (index as f64 + 0.5) * ROW;
    let (low, value, high) = (place(row.low, range), place(row.value, range), place(row.high, range));
    let color = index % 6;
    let _ = write!(
        svg,
        r#"<text class="name" x="{:.1}" y="{:.1}" text-anchor="end">{}</text><line class="line s{color}" x1="{low:.1}" x2="{high:.1}" y1="{y:.1}" y2="{y:.1}"/><circle class="dots s{color}" cx="{value:.1}" cy="{y:.1}" r="5"/><text class="value" x="{value:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
        NAME - 10.0,
        y + 4.5,
        if row.model.is_empty() { "all".to_owned() } else { escape(&row.model) },
        y - 9.0,
        metric(&row.metric, row.value)
    );
}
