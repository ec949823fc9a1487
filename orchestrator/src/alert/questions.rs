//! Whether two reports asked the same: numbers on other questions are other numbers, not better or worse ones.

use std::collections::BTreeMap;

use cupola_specs::job::StepKind;
use serde_json::Value;

use super::Obstacles;
use crate::state::PlannedStep;

/// What stands in the way of comparing the reports at the ends of two lineages. `part_hash` gives the hash over the files of a part of a
/// corpus by the corpus's fingerprint, where it is in the store: a corpus that changed elsewhere still asks the same.
pub fn obstacles(
    (older, newer): (&[PlannedStep], &[PlannedStep]),
    part_hash: &dyn Fn(&str, &str) -> Option<String>,
) -> Obstacles {
    let mut found = Obstacles::default();
    let (Some(old), Some(new)) = (older.last(), newer.last()) else { return found };
    let whole = if old.code_version != new.code_version {
        Some("the code that measures changed".to_owned())
    } else if old.seed != new.seed {
        Some(format!("the report's seed changed from {} to {}: it chooses the questions", old.seed, new.seed))
    } else {
        None
    };
    let (before, now) = (suites(old, part_hash), suites(new, part_hash));
    for (suite, asked) in &now {
        match (&whole, before.get(suite)) {
            (Some(why), _) => drop(found.suites.insert(suite.clone(), why.clone())),
            // What only one report has is told metric by metric.
            (None, None) => {}
            (None, Some(other)) => {
                if let Some(why) = difference(other, asked) {
                    found.suites.insert(suite.clone(), why);
                }
            }
        }
    }
    if tokenizers(older) != tokenizers(newer) {
        found.per_token = Some("it counts by tokens, and the tokenizer is another one".to_owned());
    }
    found
}

/// What a suite asks: its parameters, the hash over its questions, and the model that the others are held against.
#[derive(Debug, PartialEq)]
struct Asked {
    params: Value,
    questions: String,
    baseline: String,
}

/// What the suites of a report ask, by name; suites of one name in their order.
fn suites(
    step: &PlannedStep,
    part_hash: &dyn Fn(&str, &str) -> Option<String>,
) -> BTreeMap<String, Vec<Asked>> {
    let mut all: BTreeMap<String, Vec<Asked>> = BTreeMap::new();
    for (at, params) in step.params["suites"].as_array().into_iter().flatten().enumerate() {
        let (name, role) = (params["suite"].as_str().unwrap_or_default(), format!("suite.{at}"));
        let part = params["part"].as_str().unwrap_or_default();
        let of_input = |fingerprint: &String| part_hash(fingerprint, part).unwrap_or(fingerprint.clone());
        let files = step.sources.get(&role).cloned();
        let questions = files.or_else(|| step.inputs.get(&role).map(of_input)).unwrap_or_default();
        let baseline = params["baseline"].as_str().map(|name| format!("model.{name}"));
        let baseline = baseline.and_then(|role| step.inputs.get(&role).cloned()).unwrap_or_default();
        let asked = Asked { params: params.clone(), questions, baseline };
        all.entry(name.to_owned()).or_default().push(asked);
    }
    all
}

/// Why the same suite is not the same measurement.
fn difference(old: &[Asked], new: &[Asked]) -> Option<String> {
    if old.len() != new.len() {
        return Some(format!("there are {} suites of this name, before there were {}", new.len(), old.len()));
    }
    let pairs = || old.iter().zip(new);
    let why = if pairs().any(|(old, new)| old.params != new.params) {
        "the suite's parameters changed"
    } else if pairs().any(|(old, new)| old.questions != new.questions) {
        "the questions changed: its input is another one"
    } else if pairs().any(|(old, new)| old.baseline != new.baseline) {
        "the model that it is held against changed"
    } else {
        return None;
    };
    Some(why.to_owned())
}

fn tokenizers(lineage: &[PlannedStep]) -> Vec<&str> {
    let steps = lineage.iter().filter(|step| step.kind == StepKind::Tokenizer);
    let mut all: Vec<&str> = steps.map(|step| step.fingerprint.as_str()).collect();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use serde_json::json;

    use super::super::lineage::tests::planned;
    use super::*;

    fn report(suites: &Value, inputs: &[(&str, &str)]) -> PlannedStep {
        let mut step = planned("report", StepKind::Eval, "r", &[]);
        step.params = json!({ "step": "eval", "suites": suites });
        step.inputs = inputs.iter().map(|(role, print)| ((*role).to_owned(), (*print).to_owned())).collect();
        step
    }

    fn found(older: &[PlannedStep], newer: &[PlannedStep]) -> Obstacles {
        let by_first_letter = |print: &str, part: &str| {
            print.strip_prefix("same-").map(|_| format!("{part} of {}", &print[..4]))
        };
        obstacles((older, newer), &by_first_letter)
    }

    #[test]
    fn other_parameters_inputs_files_and_baselines_are_told_by_suite() {
        let suites = json!([
            { "suite": "perplexity", "part": "validation", "max_bytes": 0 },
            { "suite": "judge", "part": "", "model": "b", "baseline": "a" },
            { "suite": "chat_loss", "part": "", "limit": 5 },
        ]);
        let old = report(&suites, &[("suite.0", "corpus-1"), ("model.a", "1"), ("model.b", "1")]);
        assert_eq!(found(from_ref(&old), from_ref(&old)), Obstacles::default());
        let mut new = report(&suites, &[("suite.0", "corpus-2"), ("model.a", "2"), ("model.b", "2")]);
        new.params["suites"][2]["limit"] = json!(6);
        let why = found(from_ref(&old), from_ref(&new)).suites;
        assert_eq!(why["perplexity"], "the questions changed: its input is another one");
        assert_eq!(why["judge"], "the model that it is held against changed");
        assert_eq!(why["chat_loss"], "the suite's parameters changed");
        new.sources.insert("suite.1".into(), "other files".into());
        assert!(found(&[old], &[new]).suites["judge"].starts_with("the questions changed"));
    }

    #[test]
    fn a_corpus_that_changed_outside_of_the_part_asks_the_same() {
        let suites = json!([{ "suite": "perplexity", "part": "validation", "max_bytes": 0 }]);
        let old = report(&suites, &[("suite.0", "same-1")]);
        let new = report(&suites, &[("suite.0", "same-2")]);
        assert_eq!(found(&[old], &[new]).suites, BTreeMap::new());
    }

    #[test]
    fn another_seed_or_code_of_the_report_stops_all_and_another_tokenizer_what_counts_tokens() {
        let suites = json!([{ "suite": "perplexity", "part": "validation", "max_bytes": 9 }]);
        let old = report(&suites, &[("suite.0", "same-1")]);
        let mut new = PlannedStep { seed: 2, ..old.clone() };
        assert_eq!(
            found(from_ref(&old), from_ref(&new)).suites["perplexity"],
            "the report's seed changed from 1 to 2: it chooses the questions"
        );
        new.code_version = 9;
        assert_eq!(found(from_ref(&old), &[new]).suites["perplexity"], "the code that measures changed");
        let vocab = |print: &str| planned("vocab", StepKind::Tokenizer, print, &[]);
        let obstacles = found(&[vocab("1"), old.clone()], &[vocab("2"), old]);
        assert!(obstacles.suites.is_empty() && obstacles.per_token.is_some());
    }
}
