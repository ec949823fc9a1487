//! The data funnel: what each rule removed, with examples.

use std::fmt::Write;

use cupola_specs::artifact::{CorpusStatistics, RuleExample, RuleStatistics};

use super::{Excerpt, Figure, Section, Table};
use crate::report::ReportFacts;
use crate::report::format::{bytes, count, escape, percent, words};

const WIDTH: f64 = 960.0;
const ROW: f64 = 30.0;
const NAME: f64 = 250.0;
const NUMBERS: f64 = 230.0;
const MAX_EXCERPT_CHARS: usize = 400;

/// One section for all corpora.
pub(super) fn section(facts: &ReportFacts) -> Option<Section> {
    if facts.corpora.is_empty() {
        return None;
    }
    let mut section = Section {
        id: "data",
        title: "Data".to_owned(),
        lead: "What each rule removed, in the order that the rules ran. Bytes count whole documents and parts of documents."
            .to_owned(),
        ..Section::default()
    };
    for corpus in &facts.corpora {
        let statistics = &corpus.facts;
        section.figures.extend(funnel(&corpus.step, statistics));
        section.tables.push(rules_table(&corpus.step, statistics));
        section.tables.push(domains_table(&corpus.step, statistics));
        section.tables.push(sources_table(&corpus.step, statistics));
        section.notes.extend(notes(&corpus.step, statistics));
        section.excerpts.extend(statistics.rules.iter().flat_map(excerpts));
    }
    Some(section)
}

/// Documents and bytes before the first rule.
fn before(statistics: &CorpusStatistics) -> (u64, u64) {
    let sources = statistics.sources.values();
    let (documents, read) = sources
        .fold((0, 0), |(documents, read), source| (documents + source.documents, read + source.read_bytes));
    match statistics.rules.first() {
        Some(rule) => (
            documents.max(rule.remaining_documents + rule.dropped_documents),
            read.max(rule.remaining_bytes + rule.dropped_bytes),
        ),
        None => (documents, read),
    }
}

fn funnel(step: &str, statistics: &CorpusStatistics) -> Option<Figure> {
    let (documents, size) = before(statistics);
    if size == 0 {
        return None;
    }
    let shown: Vec<&RuleStatistics> = statistics.rules.iter().filter(|rule| rule.dropped_bytes > 0).collect();
    let height = (shown.len() + 1) as f64 * ROW + 6.0;
    let mut svg = format!(
        r#"<svg class="bars funnel" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Bytes that remain after each rule; the table below has the numbers.">"#
    );
    draw_row(&mut svg, 0, "as read", (size, 0), (documents, size), size);
    for (index, rule) in shown.iter().enumerate() {
        let remaining = (rule.remaining_documents, rule.remaining_bytes);
        draw_row(
            &mut svg,
            index + 1,
            &words(&rule.rule),
            (rule.remaining_bytes, rule.dropped_bytes),
            remaining,
            size,
        );
    }
    svg.push_str("</svg>");
    Some(Figure {
        title: format!("{step}: what remains after each rule that removed something"),
        svg,
        legend: vec![
            ("remains".to_owned(), "box s0".to_owned()),
            ("removed".to_owned(), "box s1".to_owned()),
        ],
        wide: true,
    })
}

fn draw_row(svg: &mut String, row: usize, name: &str, bar: (u64, u64), remaining: (u64, u64), all: u64) {
    let (kept, gone) = bar;
    let full = WIDTH - NAME - NUMBERS;
    let scale = |value: u64| value as f64 / all.max(1) as f64 * full;
    let top = row as f64 * ROW + 4.0;
    let _ = write!(
        svg,
        r#"<text class="name" x="{:.1}" y="{:.1}" text-anchor="end">{}</text><rect class="bar s0" x="{NAME}" y="{top:.1}" width="{:.1}" height="20" rx="3"/><rect class="bar s1" x="{:.1}" y="{top:.1}" width="{:.1}" height="20" rx="2"/><text class="note" x="{WIDTH}" y="{:.1}" text-anchor="end">{} · {} documents</text>"#,
        NAME - 10.0,
        top + 15.0,
        escape(name),
        scale(kept).max(1.0),
        NAME + scale(kept),
        scale(gone).max(if gone > 0 { 1.5 } else { 0.0 }),
        top + 15.0,
        bytes(remaining.1),
        count(remaining.0)
    );
}

fn rules_table(step: &str, statistics: &CorpusStatistics) -> Table {
    let (documents, size) = before(statistics);
    let mut rows = vec![vec![
        "as read".to_owned(),
        String::new(),
        String::new(),
        String::new(),
        String::new(),
        count(documents),
        bytes(size),
    ]];
    rows.extend(statistics.rules.iter().map(|rule| {
        vec![
            words(&rule.rule),
            count(rule.dropped_documents),
            bytes(rule.dropped_bytes),
            percent(rule.dropped_bytes as f64 / size.max(1) as f64),
            count(rule.changed_documents),
            count(rule.remaining_documents),
            bytes(rule.remaining_bytes),
        ]
    }));
    Table {
        title: format!("{step}: rules"),
        heads: vec![
            "rule",
            "documents dropped",
            "bytes dropped",
            "of all bytes",
            "documents changed",
            "documents left",
            "bytes left",
        ],
        rows,
    }
}

fn domains_table(step: &str, statistics: &CorpusStatistics) -> Table {
    let sides = [("train", &statistics.train), ("validation", &statistics.validation)];
    let rows = sides.into_iter().flat_map(|(side, domains)| {
        domains.iter().map(move |(domain, held)| {
            vec![format!("{side}: {domain}"), count(held.documents), bytes(held.bytes)]
        })
    });
    Table {
        title: format!("{step}: what is left"),
        heads: vec!["side and domain", "documents", "bytes"],
        rows: rows.collect(),
    }
}

fn sources_table(step: &str, statistics: &CorpusStatistics) -> Table {
    let rows = statistics.sources.iter().map(|(name, source)| {
        let rejected: Vec<String> =
            source.rejected.iter().map(|(reason, files)| format!("{} {reason}", count(*files))).collect();
        vec![
            name.clone(),
            count(source.listed_files),
            count(source.read_files),
            bytes(source.read_bytes),
            count(source.documents),
            if rejected.is_empty() { "none".to_owned() } else { rejected.join(", ") },
        ]
    });
    Table {
        title: format!("{step}: sources"),
        heads: vec!["source", "files found", "files read", "bytes read", "documents", "rejected"],
        rows: rows.collect(),
    }
}

fn notes(step: &str, statistics: &CorpusStatistics) -> Vec<String> {
    let mut lines = Vec::new();
    let units = statistics.num_validation_units.max(statistics.validation_units.len() as u64);
    if units > 0 {
        lines.push(format!(
            "{step}: {} units are on the validation side only, so no text of them trains a model.",
            count(units)
        ));
    }
    if statistics.train_pairs + statistics.validation_pairs > 0 {
        lines.push(format!(
            "{step}: {} instruction pairs to train on and {} held out.",
            count(statistics.train_pairs),
            count(statistics.validation_pairs)
        ));
    }
    lines
}

fn excerpts(rule: &RuleStatistics) -> Vec<Excerpt> {
    let of = |example: &RuleExample| Excerpt {
        title: format!("{} – {}", words(&rule.rule), example.file),
        text: example.excerpt.chars().take(MAX_EXCERPT_CHARS).collect(),
    };
    rule.examples.iter().take(3).map(of).collect()
}
