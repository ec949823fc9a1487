//! A document on its way.

use std::collections::BTreeMap;

use cupola_specs::job::SourceFormat;

/// A document on its way through the rules.
#[derive(Debug, Clone, Default)]
pub(super) struct Document {
    /// First 32 hex digits of blake3 over source name, file name and index in the file.
    pub(super) id: String,
    /// Index of its source.
    pub(super) source: usize,
    /// File name, from the crate's folder on.
    pub(super) file: String,
    /// The unit of the split.
    pub(super) unit: String,
    /// Where it was on the web.
    pub(super) url: Option<String>,
    /// What the rules apply.
    pub(super) class: Class,
    /// The text.
    pub(super) text: String,
    /// What the rules measured.
    pub(super) signals: BTreeMap<String, f64>,
}

/// Which rules look at a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
    /// The class of a format.
    pub(super) fn of(format: SourceFormat) -> Self {
        match format {
            SourceFormat::Rust => Self::Rust,
            SourceFormat::Markdown => Self::Markdown,
            _ => Self::Prose,
        }
    }
}

/// The id of the document with this index in a file.
pub(super) fn document_id(source: &str, file: &str, index: usize) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(source.as_bytes()).update(&[0]).update(file.as_bytes()).update(&[0]);
    hasher.update(&(index as u64).to_le_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}

/// A place between 0 and 1 for a name under a seed.
pub(super) fn seeded_position(seed: u64, name: &str) -> f64 {
    let key = xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), seed);
    (key >> 11) as f64 / (1_u64 << 53) as f64
}
