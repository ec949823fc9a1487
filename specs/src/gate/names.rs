//! The names that an expression may use: they follow from the eval jobs that measure the served model.

use std::collections::BTreeMap;

use crate::artifact::ReportRow;
use crate::job::{EvalParams, Scoring, SuiteParams};

/// What stands in place of the model where a number is about the data.
const DATA: &str = "data";
/// The model that is not the user's: the byte n-gram model beside perplexities.
const NGRAM: &str = "ngram3";

/// Words that can't be names in CEL, and the one that is ours.
const TAKEN: [&str; 22] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "previous",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// A name of a spec as expressions write it: what is no letter, digit or `_` becomes `_`, and a word that CEL has taken gets one.
pub fn word_of(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let mut word: String = name.chars().map(plain).collect();
    if word.is_empty() || word.starts_with(|c: char| c.is_ascii_digit()) {
        word.insert(0, '_');
    }
    if TAKEN.contains(&word.as_str()) {
        word.push('_');
    }
    word
}

/// Suite, model and metric of a row, as expressions write them.
pub(super) fn place_of(row: &ReportRow) -> [String; 3] {
    place(&row.suite, &row.model, &row.metric)
}

fn place(suite: &str, model: &str, metric: &str) -> [String; 3] {
    let model = if model.is_empty() { DATA.to_owned() } else { word_of(model) };
    [word_of(suite), model, word_of(metric)]
}

/// The numbers that an expression may name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GateNames {
    /// Eval jobs as they are written, by their word.
    pub(super) jobs: BTreeMap<String, String>,
    /// `report.judge.aligned.win_rate`, and how many suites give it: one that two give means neither.
    pub(super) numbers: BTreeMap<String, usize>,
}

impl GateNames {
    /// The numbers of these eval jobs.
    pub fn of<'a>(evals: impl IntoIterator<Item = (&'a str, &'a EvalParams)>) -> Self {
        let mut names = Self::default();
        for (job, params) in evals {
            names.jobs.insert(word_of(job), job.to_owned());
            for suite in &params.suites {
                for [suite, model, metric] in numbers_of(suite, &params.models) {
                    let path = format!("{}.{suite}.{model}.{metric}", word_of(job));
                    *names.numbers.entry(path).or_insert(0) += 1;
                }
            }
        }
        names
    }

    /// Whether a number or a group of numbers has this path.
    pub(super) fn has(&self, path: &str) -> bool {
        let below = format!("{path}.");
        self.jobs.contains_key(path)
            || self.numbers.contains_key(path)
            || self.numbers.keys().any(|number| number.starts_with(&below))
    }
}

/// What a suite measures, as its step writes it into the report.
fn numbers_of(suite: &SuiteParams, models: &[String]) -> Vec<[String; 3]> {
    let of_each = |suite: &str, metrics: &[String]| -> Vec<[String; 3]> {
        let pairs = models.iter().flat_map(|model| metrics.iter().map(move |metric| (model, metric)));
        pairs.map(|(model, metric)| place(suite, model, metric)).collect()
    };
    match suite {
        SuiteParams::Perplexity { .. } => {
            let mut all = of_each("perplexity", &["bpb".to_owned(), "perplexity".to_owned()]);
            all.push(place("perplexity", NGRAM, "bpb"));
            all
        }
        SuiteParams::ChatLoss { .. } => of_each("chat_loss", &["loss".to_owned()]),
        SuiteParams::MultipleChoice(params) => {
            let metrics: Vec<String> = params.scoring.iter().map(|scoring| accuracy(*scoring)).collect();
            of_each("multiple_choice", &metrics)
        }
        SuiteParams::Judge(params) => {
            let of = |model: &str, metrics: &[&str]| -> Vec<[String; 3]> {
                metrics.iter().map(|metric| place("judge", model, metric)).collect()
            };
            let mut all = of(
                &params.model,
                &["win_rate", "win_rate_ties_half", "rouge_l_gain", "rouge_l", "answer_tokens"],
            );
            all.extend(of(&params.baseline, &["rouge_l", "answer_tokens"]));
            all.extend(of("", &["tie_rate"]));
            all
        }
        SuiteParams::Contamination { .. } => {
            ["overlap", "ngram_overlap"].map(|metric| place("contamination", "", metric)).to_vec()
        }
    }
}

fn accuracy(scoring: Scoring) -> String {
    let name = match scoring {
        Scoring::Likelihood => "likelihood",
        Scoring::Normalized => "normalized",
        Scoring::Letter => "letter",
    };
    format!("accuracy_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_words_that_cel_takes() {
        let words = ["report", "nightly-eval", "base[seed=1]", "3b", "loop", "previous", ""].map(word_of);
        assert_eq!(words, ["report", "nightly_eval", "base_seed_1_", "_3b", "loop_", "previous_", "_"]);
    }
}
