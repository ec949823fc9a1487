//! Where documents come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
