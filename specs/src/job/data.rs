//! `kind: data`: raw files to a clean, split corpus.

mod expression;
pub(crate) mod filters;
pub(crate) mod inputs;
pub(crate) mod mixture;
pub(crate) mod resolve;
mod signals;
pub(crate) mod written;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use expression::{Expression, ExpressionProblem};
pub use signals::{SIGNALS, Signal};

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

/// One source of a corpus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceParams {
    /// The source's name; its files carry the label `sources.<name>`.
    pub name: String,
    /// How its files are read.
    pub format: SourceFormat,
    /// The domain of its documents.
    pub domain: String,
    /// At most this many bytes are taken, file by file in the seeded order; 0 takes all.
    pub max_bytes: u64,
    /// The field of a JSONL line, or the column of a Parquet file, that holds the text.
    pub text_field: String,
    /// The crawl that makes the files of a source without any.
    pub crawl: Option<CrawlParams>,
}

/// A polite crawl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrawlParams {
    /// Where it starts; it stays on their hosts.
    pub seeds: Vec<String>,
    /// Links that it follows from a seed.
    pub max_depth: u64,
    /// Most pages.
    pub max_pages: u64,
    /// Requests a second to one host.
    pub rate: f64,
    /// Whether it obeys robots.txt.
    pub respect_robots: bool,
    /// Whether it may ask addresses of private networks and of this machine.
    pub allow_private_addresses: bool,
    /// Who asks, and how to reach them.
    pub user_agent: String,
}

/// How the text of web pages is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtractParams {
    /// Drops navigation, advertising and comments.
    pub main_content: bool,
    /// Keeps formulas.
    pub keep_math: bool,
    /// Keeps code blocks.
    pub keep_code: bool,
    /// Pages of a host that a block must stand in to be taken for a header or footer; 0 takes none out.
    pub site_repeats: u64,
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

/// How a file becomes documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceFormat {
    /// One document a file.
    Text,
    /// One document a file; front matter and HTML comments go.
    Markdown,
    /// One document a line, in `text`; `.gz` and `.zst` are unpacked.
    Jsonl,
    /// One document a file of Rust source.
    Rust,
    /// Apache Parquet with a `text` column.
    Parquet,
    /// HTML pages.
    Html,
    /// Web archives.
    Warc,
    /// A polite crawl of `seeds`.
    Crawl,
    /// A data set of a hub.
    Huggingface,
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

/// What a word is: the same threshold is another filter under another definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WordRule {
    /// Unicode's word boundaries (UAX #29); blanks and punctuation are no words.
    Unicode,
    /// The tokens of spaCy's blank English pipeline, which datatrove counts: punctuation is a word.
    SpacyLike,
}

/// One heuristic filter with its thresholds. Sources: Gopher (2021, arXiv:2112.11446), C4 (2019, arXiv:1910.10683), FineWeb
/// (2024, arXiv:2406.17557), RefinedWeb (2023, arXiv:2306.01116).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
pub enum FilterParams {
    /// Gopher's quality rules.
    GopherQuality {
        /// Fewest words.
        min_words: u64,
        /// Most words.
        max_words: u64,
        /// Shortest mean word length, characters.
        min_mean_word_length: f64,
        /// Longest mean word length, characters.
        max_mean_word_length: f64,
        /// Most `#` or `…` a word.
        max_symbol_word_ratio: f64,
        /// Most lines that start with a bullet, as a share.
        max_bullet_lines: f64,
        /// Most lines that end with an ellipsis, as a share.
        max_ellipsis_lines: f64,
        /// Fewest words with a letter, as a share.
        min_alpha_words: f64,
        /// Fewest stop words.
        min_stop_words: u64,
    },
    /// Gopher's repetition rules: most of a text that repeated lines, paragraphs and n-grams may make up.
    GopherRepetition {
        /// Repeated lines, share of lines.
        max_duplicate_lines: f64,
        /// Repeated paragraphs, share of paragraphs.
        max_duplicate_paragraphs: f64,
        /// Characters in repeated lines, share of characters.
        max_duplicate_line_chars: f64,
        /// Characters in repeated paragraphs, share of characters.
        max_duplicate_paragraph_chars: f64,
        /// Characters in the most frequent n-gram for n = 2, 3, 4, as shares.
        max_top_ngram_chars: [f64; 3],
        /// Characters in repeated n-grams for n = 5 … 10, as shares.
        max_duplicate_ngram_chars: [f64; 6],
    },
    /// C4's line and page rules.
    C4 {
        /// Drops lines without end punctuation.
        require_terminal_punctuation: bool,
        /// Drops lines with fewer words.
        min_line_words: u64,
        /// Drops pages with fewer sentences.
        min_sentences: u64,
        /// Drops pages with a curly bracket.
        drop_curly_bracket: bool,
        /// Drops pages with `lorem ipsum`.
        drop_lorem_ipsum: bool,
        /// Drops lines that mention JavaScript.
        drop_javascript_lines: bool,
        /// Drops lines with a longer word, characters.
        max_word_length: u64,
        /// Takes out marks of citations: `[1]`, `[edit]`, `[citation needed]`.
        remove_citations: bool,
        /// Drops lines about cookies, terms of use and privacy policies.
        drop_policy_lines: bool,
        /// Drops pages with a word of the list that the step is given.
        drop_bad_words: bool,
        /// Share of such pages that stay, drawn by the text's hash.
        bad_words_keep: f64,
    },
    /// FineWeb's extra rules.
    Fineweb {
        /// Fewest lines that end with punctuation, as a share.
        min_line_punctuation: f64,
        /// Most short lines, as a share.
        max_short_lines: f64,
        /// A line of at most this many characters is short.
        short_line_chars: u64,
        /// Most characters in duplicate lines, as a share.
        max_duplicate_line_chars: f64,
        /// Most line breaks a word.
        max_newline_word_ratio: f64,
    },
    /// RefinedWeb's corrections line by line, as DCLM's baseline (2024, arXiv:2406.11794) runs them.
    Refinedweb {
        /// Drops lines with more capital letters, share of characters.
        max_line_uppercase: f64,
        /// Drops lines of nothing but digits.
        drop_numeric_lines: bool,
        /// Drops counters: `3 likes`.
        drop_counter_lines: bool,
        /// Drops lines with fewer words.
        min_line_words: u64,
        /// Takes `items in cart`, `Read more...` and `Sign-in` out of short lines.
        remove_boilerplate: bool,
        /// Drops pages that lost a larger share of their words.
        max_removed_words: f64,
    },
    /// A CEL expression over a document's signals: what it is true of stays.
    Custom {
        /// The expression.
        expression: String,
    },
    /// Source-code rules: generated files, data tables, minified lines.
    Code {
        /// Longest line, characters.
        max_line_length: u64,
        /// Longest mean line, characters.
        max_mean_line_length: f64,
        /// Fewest letters and digits, share of characters.
        min_alphanumeric: f64,
        /// Most digits, share of characters (tables of numbers).
        max_digits: f64,
        /// Drops files that say in their first lines that a tool wrote them.
        drop_generated: bool,
    },
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
