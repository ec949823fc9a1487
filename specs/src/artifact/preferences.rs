//! Files of `preferences`: `pairs.jsonl.zst` and `validation.jsonl.zst` ([`PreferencePair`]), `statistics.json`
//! ([`PreferenceStatistics`]).

use serde::{Deserialize, Serialize};

/// One labelled pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreferencePair {
    /// The user's turn.
    pub prompt: String,
    /// The better answer.
    pub chosen: String,
    /// The worse answer.
    pub rejected: String,
    /// Difference of the labeler's scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// Who decided.
    pub labeler: String,
    /// Votes for the chosen answer and against it.
    pub votes: [u64; 2],
}

/// `statistics.json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PreferenceStatistics {
    /// Prompts that were sampled.
    pub prompts: u64,
    /// Pairs kept for training.
    pub pairs: u64,
    /// Pairs held out.
    pub validation_pairs: u64,
    /// Ties dropped.
    pub ties: u64,
    /// Answers cut at `max_new_tokens`.
    pub truncated_answers: u64,
    /// Mean length of chosen answers, tokens.
    pub mean_chosen_tokens: f64,
    /// Mean length of rejected answers, tokens.
    pub mean_rejected_tokens: f64,
    /// Mean score of chosen answers by the labeler.
    pub mean_chosen_score: f64,
    /// Mean score of rejected answers by the labeler.
    pub mean_rejected_score: f64,
}
