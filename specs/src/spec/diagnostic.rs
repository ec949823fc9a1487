//! What is wrong with a spec: every error at once, each with a code, a place and what was expected.

use std::fmt;

use serde::Serialize;

use super::codes::Code;
use super::origin::Origin;

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
    /// The whole source line.
    pub source: String,
    /// What would be right; empty where the message says it.
    pub expected: String,
    /// The nearest known word.
    pub suggestion: Option<String>,
    /// Other places that belong to it: the first of two equal keys, each edge of a cycle.
    pub notes: Vec<Note>,
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

/// All errors of a spec, by file, line and column. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// The errors.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// The text that a terminal shows: the place, the source line with a caret, what was expected.
    pub fn to_text(&self) -> String {
        super::render::text(self)
    }

    /// The same for machines: `{"errors": [{code, message, file, line, column, …}]}`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "errors": self.0 })
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl std::error::Error for Diagnostics {}
