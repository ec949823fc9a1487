//! Files of a `corpus`: `train/*.jsonl.zst` and `validation/*.jsonl.zst` ([`CorpusDocument`]), `dropped.jsonl.zst`
//! ([`DroppedDocument`]), `pairs/train.jsonl.zst` and `pairs/validation.jsonl.zst` ([`CorpusPair`]), `statistics.json`
//! ([`CorpusStatistics`]) and `statistics.html`.
//!
//! Parts that other jobs name: `train`, `validation`, `pairs` (pairs/train), `validation_pairs` (pairs/validation).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CorpusDocument {
    /// First 32 hex digits of blake3 over source name, file name and index in the file.
    pub id: String,
    /// The text.
    pub text: String,
    /// The source's name.
    pub source: String,
    /// File name below the source, with the split unit in front (`serde-1.0.1/src/lib.rs`).
    pub file: String,
    /// Where it was on the web.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its domain.
    pub domain: String,
    /// What the rules measured.
    pub signals: BTreeMap<String, f64>,
}

/// One document that a rule removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedDocument {
    /// The id that it would have had.
    pub id: String,
    /// The source's name.
    pub source: String,
    /// The rule.
    pub rule: String,
    /// Value and threshold.
    pub reason: String,
}

/// One instruction pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusPair {
    /// Id.
    pub id: String,
    /// The user's turn.
    pub prompt: String,
    /// The reference answer.
    pub answer: String,
    /// The function's signature alone.
    pub signature: String,
    /// The split unit (crate) it is from.
    pub unit: String,
}

/// `statistics.json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CorpusStatistics {
    /// By source name.
    pub sources: BTreeMap<String, SourceStatistics>,
    /// In the order that the rules ran: the data funnel.
    pub rules: Vec<RuleStatistics>,
    /// Train side by domain.
    pub train: BTreeMap<String, DomainStatistics>,
    /// Validation side by domain.
    pub validation: BTreeMap<String, DomainStatistics>,
    /// Units (crates) on the validation side.
    pub validation_units: Vec<String>,
    /// Sampling weight by domain, as the data step was told; sums to 1.
    #[serde(default)]
    pub domain_weights: BTreeMap<String, f64>,
    /// Pairs on the train side.
    pub train_pairs: u64,
    /// Pairs on the validation side.
    pub validation_pairs: u64,
}

/// What one source gave.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SourceStatistics {
    /// Files listed.
    pub listed_files: u64,
    /// Files read before `max_bytes` was full.
    pub read_files: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Documents in them.
    pub documents: u64,
    /// Files that could not be read as this format, by reason.
    pub rejected: BTreeMap<String, u64>,
}

/// What one rule removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuleStatistics {
    /// The rule (`exact_document`, `gopher_quality.min_words`, `pii.email`).
    pub rule: String,
    /// Documents that it removed.
    pub dropped_documents: u64,
    /// Bytes that it removed, whole documents and parts of documents.
    pub dropped_bytes: u64,
    /// Documents that it changed and kept.
    pub changed_documents: u64,
    /// Documents that remain after it.
    pub remaining_documents: u64,
    /// Bytes that remain after it.
    pub remaining_bytes: u64,
    /// Up to three examples: file, and an excerpt of what went (never an unredacted secret).
    pub examples: Vec<(String, String)>,
}

/// Documents and bytes of one domain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DomainStatistics {
    /// Documents.
    pub documents: u64,
    /// UTF-8 bytes.
    pub bytes: u64,
}
