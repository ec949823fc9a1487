//! `kind: eval`: numbers with intervals, for each model.

pub(crate) mod resolve;
pub(crate) mod written;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Precision;

/// Resolved parameters of an `eval` step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalParams {
    /// Models by name, in spec order; input `model.<name>`.
    pub models: Vec<String>,
    /// Suites in spec order; inputs and files of suite `i` carry the role `suite.<i>`.
    pub suites: Vec<SuiteParams>,
    /// Number format.
    pub precision: Precision,
}

/// One suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "suite", rename_all = "snake_case", deny_unknown_fields)]
pub enum SuiteParams {
    /// Perplexity and bits per byte on held-out documents, with an order-3 byte n-gram model of the training bytes beside them.
    Perplexity {
        /// Part of the corpus (`validation`).
        part: String,
        /// Most bytes read, spread over the documents; 0 reads all.
        max_bytes: u64,
    },
    /// Loss on the assistant's tokens of held-out chats.
    ChatLoss {
        /// Part of the corpus (`validation_pairs`), empty for files.
        part: String,
        /// Most chats; 0 takes all.
        limit: u64,
    },
    /// Multiple choice.
    MultipleChoice(MultipleChoiceParams),
    /// Win rate of one model's answers over another's.
    Judge(JudgeParams),
    /// Overlap of test texts with what trained the models.
    Contamination {
        /// Part of the corpus that is tested (`validation_pairs`), empty for files.
        part: String,
        /// Words in an n-gram.
        ngram: u64,
    },
}

/// Resolved parameters of a multiple-choice suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultipleChoiceParams {
    /// Part of the corpus whose pairs become questions (`validation_pairs`), empty for files of `{question, choices, answer}`.
    pub part: String,
    /// Choices a question, where questions are made from pairs.
    pub choices: u64,
    /// Most questions; 0 takes all.
    pub limit: u64,
    /// How a choice is scored; each gives a row.
    pub scoring: Vec<Scoring>,
    /// Examples before the question.
    pub shots: u64,
}

/// How a choice is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scoring {
    /// Sum of the choice's log-probabilities.
    Likelihood,
    /// The sum divided by the choice's length in bytes.
    Normalized,
    /// The letter of the choice.
    Letter,
}

/// Resolved parameters of a judge suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeParams {
    /// The model under test, by name.
    pub model: String,
    /// What it is compared with, by name.
    pub baseline: String,
    /// Part of the corpus with the prompts (`validation_pairs`), empty for files.
    pub part: String,
    /// Most prompts; 0 takes all.
    pub limit: u64,
    /// Sampling temperature.
    pub temperature: f64,
    /// Longest answer, tokens.
    pub max_new_tokens: u64,
}
