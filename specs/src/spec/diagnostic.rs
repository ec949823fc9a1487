//! What is wrong with a spec: every error at once, each with a code, a place and what was expected.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::codes::Code;
use super::origin::Origin;
use super::words::nearest;

/// A list of known words that is searched for every error.
const LONG_LIST: usize = 1000;
/// The errors for which a longer one is searched.
const SEARCHES_OF_LONG_LISTS: usize = 200;

/// How diagnostics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people: source lines with carets.
    #[default]
    Text,
    /// One JSON object on one line.
    Json,
    /// SARIF 2.1.0, for editors and code scanning.
    Sarif,
    /// Workflow commands of GitHub Actions, which become annotations.
    Github,
}

/// One error of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Its code; `cupola explain E0201` says more.
    pub code: Code,
    /// What is wrong, in one line.
    pub message: String,
    /// Where the offending token starts.
    #[serde(flatten)]
    pub origin: Origin,
    /// The token's length in characters, at least 1.
    pub length: u32,
    /// The whole source line, or of a very long one what is around the token.
    pub source: String,
    /// The column at which `source` starts: 1 for a whole line.
    pub source_column: u32,
    /// What would be right; empty where the message says it.
    pub expected: String,
    /// The nearest known word.
    pub suggestion: Option<String>,
    /// Other places that belong to it: the first of two equal keys, each edge of a cycle.
    pub notes: Vec<Note>,
    /// How many were recorded before it.
    #[serde(skip)]
    pub(crate) ordinal: usize,
}

impl Diagnostic {
    /// Says what would be right.
    pub(crate) fn expecting(&mut self, expected: impl Into<String>) -> &mut Self {
        self.expected = expected.into();
        self
    }

    /// Suggests the known word that is nearest to what was written, if one is near enough. A long list is searched for the first
    /// errors only: more of them nobody reads, and a search for each is quadratic.
    pub(crate) fn suggesting<S: AsRef<str>>(
        &mut self,
        written: &str,
        known: impl IntoIterator<Item = S, IntoIter: ExactSizeIterator>,
    ) -> &mut Self {
        let known = known.into_iter();
        if known.len() <= LONG_LIST || self.ordinal < SEARCHES_OF_LONG_LISTS {
            self.suggestion = nearest(written, known);
        }
        self
    }

    /// What is wrong, what was expected and what may have been meant, a line each.
    pub fn summary(&self) -> String {
        let mut out = self.message.clone();
        if !self.expected.is_empty() {
            out.push_str("\nexpected: ");
            out.push_str(&self.expected);
        }
        if let Some(suggestion) = &self.suggestion {
            let _ = write!(out, "\ndid you mean `{suggestion}`?");
        }
        out
    }

    /// Adds another place.
    pub(crate) fn noting(&mut self, origin: Origin, message: impl Into<String>) -> &mut Self {
        self.notes.push(Note { origin, message: message.into() });
        self
    }
}

/// Another place that belongs to an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Where.
    #[serde(flatten)]
    pub origin: Origin,
    /// What is there.
    pub message: String,
}

/// All errors of a spec, by file, line and column; a spec that does not load has at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// The errors.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// `1 error`, `2 errors`.
    pub fn count(&self) -> String {
        super::render::count(self.0.len())
    }

    /// The text that a terminal shows: the place, the source line with a caret, what was expected.
    pub fn to_text(&self) -> String {
        super::render::text(self)
    }

    /// The same for machines: `{"errors": [{code, message, file, line, column, …}]}`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "errors": self.0 })
    }

    /// The same in a format; with a line break at its end, unless it is empty.
    pub fn to_format(&self, format: Format) -> String {
        match format {
            Format::Text => self.to_text(),
            Format::Json => format!("{}\n", self.to_json()),
            Format::Sarif => format!("{:#}\n", super::sarif::sarif(self)),
            Format::Github => super::github::github(self),
        }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl std::error::Error for Diagnostics {}
