//! Files of a `corpus`: `train/*.jsonl.zst` and `validation/*.jsonl.zst` ([`CorpusDocument`]), `dropped.jsonl.zst`
//! ([`DroppedDocument`]), `pairs/train.jsonl.zst` and `pairs/validation.jsonl.zst` ([`CorpusPair`]), `statistics.json`
//! ([`CorpusStatistics`]) and `statistics.html`.
//!
//! Parts that other jobs name: `train`, `validation`, `pairs` (pairs/train), `validation_pairs` (pairs/validation).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Interval;

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
    /// The language of its prose, ISO 639-1, where it could be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// What the rules measured.
    pub signals: BTreeMap<String, f64>,
}

/// One document that a rule removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DroppedDocument {
    /// The id that it would have had.
    pub id: String,
    /// The source's name.
    pub source: String,
    /// The file that it was read from.
    pub file: String,
    /// Where it was on the web.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The rule.
    pub rule: String,
    /// Value and threshold.
    pub reason: String,
    /// What the rules measured until then: with it another threshold can be tried without the text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub signals: BTreeMap<String, f64>,
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
    /// How many units are on the validation side.
    #[serde(default)]
    pub num_validation_units: u64,
    /// They themselves: crates or source files; single documents are not listed.
    pub validation_units: Vec<String>,
    /// Sampling weight by domain, as the data step was told; sums to 1.
    #[serde(default)]
    pub domain_weights: BTreeMap<String, f64>,
    /// What is left, by length.
    #[serde(default)]
    pub lengths: Vec<LengthBin>,
    /// Documents that are left by language, ISO 639-1; those whose language could not be told are not in it.
    #[serde(default)]
    pub languages: BTreeMap<String, u64>,
    /// The sites with the most documents that are left.
    #[serde(default)]
    pub sites: Vec<SiteStatistics>,
    /// Published pipelines that stand among the job's filters with every threshold as it was published: the hash of each one's filters, hexadecimal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub presets: BTreeMap<String, String>,
    /// How the domains' weights were fitted, where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixture: Option<MixtureStatistics>,
    /// The classifier of toxic text, where one was trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toxicity: Option<ToxicityStatistics>,
    /// The model-based quality filter, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityStatistics>,
    /// Near-duplicates, where they were looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near_duplicates: Option<ClusterStatistics>,
    /// Pairs on the train side.
    pub train_pairs: u64,
    /// Pairs on the validation side.
    pub validation_pairs: u64,
}

/// `train/index.json` and `validation/index.json`: where the documents of a side lie.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ShardIndex {
    /// The shards in order.
    pub shards: Vec<ShardRecord>,
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ShardRecord {
    /// Its name in the folder.
    pub file: String,
    /// Documents in it.
    pub documents: u64,
    /// UTF-8 bytes of their texts.
    pub bytes: u64,
    /// The zstd frames that it is made of. A reader that begins at one needs nothing before it.
    pub frames: Vec<ShardFrame>,
}

/// A zstd frame of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardFrame {
    /// Its first byte in the shard.
    pub offset: u64,
    /// Documents of the shard before it.
    pub first: u64,
}

/// Documents of about one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LengthBin {
    /// They have fewer UTF-8 bytes than this, and at least half as many.
    pub below_bytes: u64,
    /// How many there are.
    pub documents: u64,
}

/// What one site gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteStatistics {
    /// Its registered domain.
    pub site: String,
    /// Documents.
    pub documents: u64,
    /// UTF-8 bytes.
    pub bytes: u64,
}

/// What the model-based quality filter learned and how good it is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct QualityStatistics {
    /// Good examples.
    pub positive_examples: u64,
    /// Examples of the source.
    pub negative_examples: u64,
    /// Examples of both that were held out.
    pub held_out_examples: u64,
    /// Area under the ROC curve on these.
    pub roc_auc: f64,
    /// Lower end of its 95 % interval.
    pub roc_auc_low: f64,
    /// Upper end.
    pub roc_auc_high: f64,
    /// Score from which documents stay.
    pub threshold: f64,
    /// Documents that were scored.
    pub scored_documents: u64,
    /// Those that stay.
    pub kept_documents: u64,
}

/// What a classifier of toxic text learned and how good it is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ToxicityStatistics {
    /// Toxic examples.
    pub toxic_examples: u64,
    /// Examples that are not.
    pub clean_examples: u64,
    /// Examples of both that were held out.
    pub held_out_examples: u64,
    /// Area under the ROC curve on these.
    pub roc_auc: f64,
    /// Lower end of its 95 % interval.
    pub roc_auc_low: f64,
    /// Upper end.
    pub roc_auc_high: f64,
}

/// Weights of domains that were fitted to runs of small models (RegMix, 2024, arXiv:2407.01492).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MixtureStatistics {
    /// Runs.
    pub num_runs: u64,
    /// Weight by domain with its 95 % interval.
    pub weights: BTreeMap<String, Interval>,
    /// The loss that a run like these has with the weights, in their unit.
    pub predicted_loss: Interval,
    /// The same with the mean of the runs' mixtures.
    pub mean_mixture_loss: Interval,
    /// The least loss of a run.
    pub best_run_loss: f64,
    /// What predicted held-out runs best: `linear` or `trees`.
    pub regressor: String,
    /// Spearman's rank correlation of predicted and measured losses of held-out runs.
    pub rank_correlation: f64,
    /// Why the fit is weak; empty where nothing says so.
    pub caveats: Vec<String>,
}

/// Clusters of near-duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClusterStatistics {
    /// Clusters of two documents or more.
    pub clusters: u64,
    /// Documents that are not the first of their cluster.
    pub duplicates: u64,
    /// The largest clusters.
    pub largest: Vec<ClusterExample>,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterExample {
    /// Documents in it.
    pub documents: u64,
    /// The id of the first, which stays.
    pub first: String,
    /// Its file.
    pub file: String,
    /// Its start, without personal data.
    pub excerpt: String,
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
    /// What could not be read as this format, by reason: files, and records or lines of files.
    pub rejected: BTreeMap<String, u64>,
    /// Records that hold no content by their type: requests and metadata of a web archive.
    #[serde(default)]
    pub not_content: u64,
}

impl SourceStatistics {
    /// Adds what other files of the source gave.
    pub fn add(&mut self, more: &Self) {
        self.listed_files += more.listed_files;
        self.read_files += more.read_files;
        self.read_bytes += more.read_bytes;
        self.documents += more.documents;
        self.not_content += more.not_content;
        for (reason, count) in &more.rejected {
            *self.rejected.entry(reason.clone()).or_insert(0) += count;
        }
    }
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
    /// Up to three examples, drawn from all.
    pub examples: Vec<RuleExample>,
}

/// A document that a rule dropped or changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuleExample {
    /// Its id.
    pub document: String,
    /// Its file.
    pub file: String,
    /// An excerpt of what went, never an unredacted secret.
    pub excerpt: String,
}

/// Documents and bytes of one domain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DomainStatistics {
    /// Documents.
    pub documents: u64,
    /// UTF-8 bytes.
    pub bytes: u64,
}
