//! Files of a `report`: `report.json` ([`EvalReport`]), `examples/*.jsonl.zst` ([`EvalSample`]), `report.html`, `report.md` and
//! `README.md` (a model card).

use serde::{Deserialize, Serialize};

/// `report.json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EvalReport {
    /// Models in spec order.
    pub models: Vec<String>,
    /// One row for each number.
    pub rows: Vec<ReportRow>,
    /// A few texts for people.
    pub samples: Vec<EvalSample>,
}

/// One number: what, of whom, how sure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportRow {
    /// `perplexity`, `chat_loss`, `multiple_choice`, `judge`, `contamination`.
    pub suite: String,
    /// The model's name; `ngram3` for the byte n-gram model; empty where the row is about the data.
    pub model: String,
    /// `bpb`, `perplexity`, `loss`, `accuracy`, `win_rate`, `overlap`, …
    pub metric: String,
    /// The number.
    pub value: f64,
    /// Standard error.
    pub stderr: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// What `n` counts is in `method`.
    pub n: u64,
    /// How it was measured, with scoring and the interval's method, in one line.
    pub method: String,
    /// What a guess would give; none where that has no meaning.
    pub chance: Option<f64>,
    /// Whether a higher value is better.
    pub higher_is_better: bool,
}

/// One example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalSample {
    /// Suite.
    pub suite: String,
    /// What the models were given.
    pub prompt: String,
    /// The reference, where there is one.
    pub reference: String,
    /// Model name and what it wrote or chose.
    pub answers: Vec<(String, String)>,
}
