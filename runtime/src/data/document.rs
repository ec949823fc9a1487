//! A document on its way.

use std::collections::BTreeMap;

use cupola_specs::job::SourceFormat;
use serde::{Deserialize, Serialize};

/// A document on its way through the rules.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Document {
    /// Its place among all that were read, from 0: the order in which the first of equal documents is the first.
    pub(super) number: u64,
    /// First 32 hex digits of blake3 over source name, file name and index in the file.
    pub(super) id: String,
    /// Index of its source.
    pub(super) source: usize,
    /// File name, from the crate's folder on.
    pub(super) file: String,
    /// The unit of the split.
    pub(super) unit: String,
    /// Its domain.
    pub(super) domain: String,
    /// The language of its prose, ISO 639-1, where it could be told.
    pub(super) language: Option<String>,
    /// Where it was on the web.
    pub(super) url: Option<String>,
    /// What the rules apply.
    pub(super) class: Class,
    /// The text; of a page its source, until the text is found in it.
    pub(super) text: String,
    /// Whether the text is the source of a page.
    #[serde(skip)]
    pub(super) is_page: bool,
    /// What the rules measured.
    pub(super) signals: BTreeMap<String, f64>,
}

/// Which rules look at a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) enum Class {
    /// Markdown: prose with code in fences.
    Markdown,
    /// Plain prose.
    #[default]
    Prose,
    /// Rust source.
    Rust,
}

impl Class {
    /// The class of a format; main text of pages is Markdown.
    pub(super) fn of(format: SourceFormat) -> Self {
        match format {
            SourceFormat::Rust => Self::Rust,
            SourceFormat::Markdown | SourceFormat::Html | SourceFormat::Warc | SourceFormat::Crawl => {
                Self::Markdown
            }
            SourceFormat::Text | SourceFormat::Jsonl | SourceFormat::Parquet | SourceFormat::Huggingface => {
                Self::Prose
            }
        }
    }
}

/// The id of the document with this index in a file.
pub(super) fn document_id(source: &str, file: &str, index: u64) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(source.as_bytes()).update(&[0]).update(file.as_bytes()).update(&[0]);
    hasher.update(&index.to_le_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}

/// A place between 0 and 1 for a name under a seed.
pub(super) fn seeded_position(seed: u64, name: &str) -> f64 {
    let key = xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), seed);
    (key >> 11) as f64 / (1_u64 << 53) as f64
}
