//! `kind: data`: raw files to a clean, split corpus.

mod expression;
mod filter_params;
pub(crate) mod filters;
pub(crate) mod inputs;
pub(crate) mod mixture;
pub(crate) mod resolve;
mod signals;
mod source;
pub(crate) mod written;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use expression::{Expression, ExpressionProblem};
pub use filter_params::{FilterParams, WordRule};
pub use signals::{SIGNALS, Signal};
pub use source::{CrawlParams, ExtractParams, SourceFormat, SourceParams};

/// Resolved parameters of a `data` step. The files themselves come in the job file's source list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataParams {
    /// Sources in spec order.
    pub sources: Vec<SourceParams>,
    /// How the text of web pages is found.
    pub extract: ExtractParams,
    /// Which lists of addresses there are; their files carry the label `urls.<list>`.
    pub urls: Vec<UrlList>,
    /// Language filter; none keeps every language.
    pub language: Option<LanguageParams>,
    /// Heuristic filters in order.
    pub filters: Vec<FilterParams>,
    /// What a word is for the filters.
    pub words: WordRule,
    /// Word lists, whose files carry the label `safety.toxicity`.
    pub toxicity: Option<ToxicityParams>,
    /// A classifier of toxic text.
    pub toxicity_classifier: Option<ToxicityClassifierParams>,
    /// What happens to each class of personal data.
    pub pii: PiiParams,
    /// Deduplication.
    pub dedup: DedupParams,
    /// Model-based quality filter.
    pub quality: Option<QualityParams>,
    /// Domains that documents are sorted into by example, whose files carry the label `domains.<name>`; none leaves them with their sources'.
    pub classify: Vec<String>,
    /// Removal of what evaluations test, whose files carry the label `decontaminate.<job>`.
    pub decontaminate: Option<DecontaminateParams>,
    /// Sampling weight by domain; sums to 1. A source's domain must be in it. Empty where the step fits the weights to runs, whose files carry the label `mixture.runs`.
    pub domain_weights: BTreeMap<String, f64>,
    /// The validation split.
    pub split: SplitParams,
    /// Instruction pairs extracted beside the text.
    pub pairs: Option<PairsParams>,
    /// Documents a shard at most; 0 lets the worker choose.
    pub shard_documents: u64,
}

/// A list of what is not wanted in addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UrlList {
    /// Domains with their subdomains.
    BlockDomains,
    /// Addresses.
    BlockUrls,
    /// Words of which one is enough.
    BlockWords,
    /// Words of which two are needed.
    SoftWords,
    /// Texts anywhere in the address.
    BlockSubstrings,
}

impl UrlList {
    /// Every list.
    pub const ALL: [Self; 5] =
        [Self::BlockDomains, Self::BlockUrls, Self::BlockWords, Self::SoftWords, Self::BlockSubstrings];

    /// Its name in a spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::BlockDomains => "block_domains",
            Self::BlockUrls => "block_urls",
            Self::BlockWords => "block_words",
            Self::SoftWords => "soft_words",
            Self::BlockSubstrings => "block_substrings",
        }
    }
}

/// Word lists against toxic text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToxicityParams {
    /// Most words of the lists, as a share of a document's words.
    pub max_share: f64,
    /// So many are always let pass.
    pub min_matches: u64,
}

/// A classifier of toxic text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToxicityClassifierParams {
    /// The label that is not wanted of a model of fastText's, whose file carries the label `safety.classifier.model`. None where the step trains a classifier on the
    /// files `safety.classifier.toxic` and `safety.classifier.clean`.
    pub label: Option<String>,
    /// A document goes that is toxic with at least this probability, 0 to 1.
    pub threshold: f64,
}

/// Model-based quality filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityParams {
    /// Whether there are files of good documents, label `quality.positive`.
    pub has_documents: bool,
    /// Whether there are files of links, label `quality.positive_links`.
    pub has_links: bool,
    /// The source that it looks at, and whose documents are the bad examples.
    pub negative: String,
    /// Share of its documents that stay, 0 to 1.
    pub keep_fraction: f64,
}

/// Removal of what evaluations test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecontaminateParams {
    /// Eval jobs in order.
    pub against: Vec<String>,
    /// Words in an n-gram.
    pub ngram: u64,
    /// Drop, or redact: the stretch goes. Keep only reports.
    pub action: PiiAction,
}

/// Language filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageParams {
    /// ISO 639-1 codes that stay.
    pub keep: Vec<String>,
    /// A document that is another language with at least this confidence is dropped, 0 to 1.
    pub min_confidence: f64,
}

/// What happens to each class of personal data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PiiParams {
    /// E-mail addresses.
    pub email: PiiAction,
    /// IP addresses, but for loopback, private and documentation ranges.
    pub ip: PiiAction,
    /// Phone numbers.
    pub phone: PiiAction,
    /// Payment cards that pass Luhn's check.
    pub card: PiiAction,
    /// Keys and tokens.
    pub secret: PiiAction,
}

/// Keep, replace by a tag such as `<EMAIL>`, or drop the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PiiAction {
    /// The text stays as it is.
    Keep,
    /// The match is replaced.
    Redact,
    /// The whole document goes.
    Drop,
}

/// Deduplication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DedupParams {
    /// Keeps the first of documents with the same text.
    pub exact_document: bool,
    /// Drops lines that stand in at least this many documents; 0 is off.
    pub lines_min_repeats: u64,
    /// Keeps only the first of equal paragraphs across documents.
    pub paragraphs: bool,
    /// Near duplicates.
    pub minhash: Option<MinhashParams>,
    /// Shortest stretch of text that goes where it stood in the corpus before, bytes; 0 is off.
    pub substring_min_bytes: u64,
    /// Among which documents duplicates are looked for.
    pub scope: DedupScope,
}

/// Near duplicates by MinHash and banding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinhashParams {
    /// Words in a shingle.
    pub ngram: u64,
    /// Bands.
    pub bands: u64,
    /// Rows a band.
    pub rows: u64,
}

/// Among which documents duplicates are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DedupScope {
    /// All of the corpus.
    Corpus,
    /// Those of one source.
    Source,
}

/// The validation split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitParams {
    /// Share of units that go to validation, 0 to 1.
    pub validation: f64,
    /// What may not be on both sides.
    pub by: SplitUnit,
}

/// The unit of a split: no unit is on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitUnit {
    /// A document.
    Document,
    /// A source file.
    SourceFile,
    /// A crate, whatever its version: `serde-1.0.1/src/lib.rs` belongs to `serde`.
    Crate,
}

/// Instruction pairs from the doc comments of Rust functions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairsParams {
    /// The user's turn; `{code}` is the function's signature and body.
    pub instruction: String,
    /// Longest function, characters; longer bodies are left out of the pair, never cut.
    pub max_code_chars: u64,
    /// Shortest doc text, characters.
    pub min_answer_chars: u64,
    /// Longest doc text, characters; of longer docs the first paragraph counts.
    pub max_answer_chars: u64,
    /// Most pairs of one crate, so that a generated one does not fill the set; 0 is no limit.
    pub max_per_crate: u64,
}
