//! The preference pairs that the policy was aligned with.

use super::{Section, Table};
use crate::report::ReportFacts;
use crate::report::format::{count, percent};

/// One row a set of pairs.
pub(super) fn section(facts: &ReportFacts) -> Option<Section> {
    if facts.preferences.is_empty() {
        return None;
    }
    let rows = facts.preferences.iter().map(|set| {
        let statistics = &set.facts;
        vec![
            set.step.clone(),
            count(statistics.prompts),
            count(statistics.pairs),
            count(statistics.validation_pairs),
            count(statistics.ties),
            count(statistics.truncated_answers),
            format!("{:.1} / {:.1}", statistics.mean_chosen_tokens, statistics.mean_rejected_tokens),
            format!("{:.3} / {:.3}", statistics.mean_chosen_score, statistics.mean_rejected_score),
        ]
    });
    let heads = vec![
        "step",
        "prompts",
        "pairs",
        "held out",
        "ties dropped",
        "answers cut",
        "tokens, chosen / rejected",
        "score, chosen / rejected",
    ];
    Some(Section {
        id: "preferences",
        title: "Preferences".to_owned(),
        lead: "Two answers of the policy to each prompt, and which of them the labeler preferred. A length gap between chosen and rejected answers is what a policy learns first: read win rates with it in mind."
            .to_owned(),
        tables: vec![Table { title: "Pairs".to_owned(), heads, rows: rows.collect() }],
        notes: facts.preferences.iter().filter_map(|set| length_note(&set.step, &set.facts)).collect(),
        ..Section::default()
    })
}

fn length_note(step: &str, statistics: &cupola_specs::artifact::PreferenceStatistics) -> Option<String> {
    let (chosen, rejected) = (statistics.mean_chosen_tokens, statistics.mean_rejected_tokens);
    (rejected > 0.0 && chosen > 0.0).then(|| {
        let gap = chosen / rejected - 1.0;
        let word = if gap < 0.0 { "shorter" } else { "longer" };
        format!("{step}: chosen answers are {} {word} than rejected ones.", percent(gap.abs()))
    })
}
