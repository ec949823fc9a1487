//! `kind: data`: raw files to a clean, split corpus.

mod expression;
pub(crate) mod filters;
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
    /// Language filter; none keeps every language.
    pub language: Option<LanguageParams>,
    /// Heuristic filters in order.
    pub filters: Vec<FilterParams>,
    /// What happens to each class of personal data.
    pub pii: PiiParams,
    /// Deduplication.
    pub dedup: DedupParams,
    /// Sampling weight by domain; sums to 1. A source's domain must be in it.
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
    /// A document below this confidence is dropped, 0 to 1.
    pub min_confidence: f64,
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
