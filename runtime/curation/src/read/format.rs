//! Formats of files and what can be chosen about them.

/// How a file's bytes become documents. Compression is not part of it: gzip and zstd are known by their first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// WARC 0.18, 1.0 and 1.1, and WET, which is WARC with `conversion` records.
    Warc(Statuses),
    /// One page a file.
    Html,
    /// One document a line, or one JSON array of documents.
    Jsonl(Fields),
    /// One document a row.
    Parquet(Fields),
    /// One document a file; front matter and HTML comments go.
    Markdown,
    /// One document a file.
    Text,
    /// One document a file of Rust source.
    Rust,
}

/// HTTP statuses of responses that are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Statuses {
    /// 200 to 299.
    #[default]
    Success,
    /// All of them.
    All,
}

impl Statuses {
    pub(super) fn take(self, status: u16) -> bool {
        self == Self::All || (200..300).contains(&status)
    }
}

/// Names of the fields of a JSON object, or of the columns of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// The text; a document without it is skipped.
    pub text: String,
    /// The address.
    pub url: String,
    /// The id.
    pub id: String,
    /// The language.
    pub language: String,
    /// The date.
    pub date: String,
}

impl Default for Fields {
    fn default() -> Self {
        let own = str::to_owned;
        Self {
            text: own("text"),
            url: own("url"),
            id: own("id"),
            language: own("language"),
            date: own("date"),
        }
    }
}
