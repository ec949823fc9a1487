//! Whether test texts were seen in training.

use cupola_specs::artifact::ReportRow;

use super::{Section, Table};
use crate::report::ReportFacts;
use crate::report::format::{count, metric, words};

/// The rows of the contamination suites.
pub(super) fn section(facts: &ReportFacts) -> Option<Section> {
    let rows: Vec<&ReportRow> = facts
        .evals
        .iter()
        .flat_map(|eval| &eval.facts.rows)
        .filter(|row| row.suite == "contamination")
        .collect();
    if rows.is_empty() {
        return None;
    }
    let line = |row: &&ReportRow| {
        vec![words(&row.metric), metric(&row.metric, row.value), count(row.n), row.method.clone()]
    };
    Some(Section {
        id: "contamination",
        title: "Contamination".to_owned(),
        lead: "How much of the test text also stands in the text that trained the models. What overlaps makes every score above look better than it is."
            .to_owned(),
        tables: vec![Table {
            title: "Overlap".to_owned(),
            heads: vec!["measure", "value", "n", "how"],
            rows: rows.iter().map(line).collect(),
        }],
        ..Section::default()
    })
}
