//! Which artifact was made from which.

use super::{Section, Table};
use crate::report::format::{bytes, fingerprint, time};
use crate::report::{LineageFacts, ReportFacts};

/// One row an artifact.
pub(super) fn section(facts: &ReportFacts) -> Option<Section> {
    if facts.lineage.is_empty() {
        return None;
    }
    let rows = facts.lineage.iter().map(|artifact| {
        vec![
            artifact.step.clone(),
            artifact.kind.clone(),
            fingerprint(&artifact.fingerprint).to_owned(),
            inputs(artifact, facts),
            artifact.made_by.clone(),
            bytes(artifact.size_bytes),
            time(artifact.created_millis),
        ]
    });
    Some(Section {
        id: "lineage",
        title: "Lineage".to_owned(),
        lead: "Every artifact is named by a hash over its kind, its code, its parameters and its inputs: the same name is the same bytes."
            .to_owned(),
        tables: vec![Table {
            title: "Artifacts".to_owned(),
            heads: vec!["step", "kind", "fingerprint", "made from", "run", "size", "when"],
            rows: rows.collect(),
        }],
        ..Section::default()
    })
}

/// Inputs by role, with the step that made each where it is known; many of one kind as a count.
fn inputs(artifact: &LineageFacts, facts: &ReportFacts) -> String {
    if artifact.inputs.is_empty() {
        return "local files".to_owned();
    }
    let sweeps = artifact.inputs.keys().filter(|role| role.starts_with("sweep.")).count();
    let shown = artifact.inputs.iter().filter(|(role, _)| sweeps < 3 || !role.starts_with("sweep."));
    let mut parts: Vec<String> = shown
        .map(|(role, input)| {
            let maker = facts.lineage.iter().find(|other| other.fingerprint == *input);
            let maker = maker.map_or(String::new(), |other| format!(" of {}", other.step));
            format!("{role} {}{maker}", fingerprint(input))
        })
        .collect();
    if sweeps >= 3 {
        parts.insert(0, format!("{sweeps} sweeps"));
    }
    parts.join(", ")
}
