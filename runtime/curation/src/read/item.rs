//! What a reader yields.

use super::{SkipReason, Skipped};

/// A document as it came from its file: nothing is extracted or judged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawDocument {
    /// Its place among the file's items: with the file's name it is the document's identity.
    pub index: u64,
    /// The record's or row's own id, where it has one.
    pub id: Option<String>,
    /// The address that it came from.
    pub url: Option<String>,
    /// Its text, or the page that has it.
    pub content: Content,
    /// The language, as the file says it.
    pub language: Option<String>,
    /// The date, as the file says it.
    pub date: Option<String>,
    /// The encoding that the bytes were read by, by its WHATWG name.
    pub charset: &'static str,
    /// Characters that the bytes had no meaning for and that are U+FFFD now.
    pub num_replaced: u64,
    /// Whether the file says, or its bytes show, that the end is missing.
    pub truncated: bool,
    /// Bytes of the record, line, row or file.
    pub bytes: u64,
}

/// The content of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Plain text or Markdown: no byte order mark, `\n` at each line's end, no blanks before it.
    Text(String),
    /// A page's source, as it was decoded.
    Html(String),
}

impl Content {
    /// The characters of either.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) | Self::Html(text) => text,
        }
    }
}

/// One item of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A document.
    Document(RawDocument),
    /// A part that gave none.
    Skipped(Skipped),
}

/// A reason with a few words on what was there.
pub(super) type Refusal = (SkipReason, String);

/// Text without a byte order mark, with `\n` line ends and no blanks at line ends.
pub(super) fn normalized(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut clean = String::with_capacity(text.len() + 1);
    for line in text.lines() {
        clean.push_str(line.trim_end());
        clean.push('\n');
    }
    clean
}
