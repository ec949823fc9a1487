//! What one load carries along: the world, the texts read so far, and the errors found so far.

use std::path::{Path, PathBuf};

use super::codes::Code;
use super::diagnostic::{Diagnostic, Diagnostics, Note};
use super::environment::Environment;
use super::origin::Origin;
use super::tree::Spot;

/// One load of a spec.
pub(crate) struct Session<'a> {
    /// The world.
    pub(crate) env: &'a dyn Environment,
    /// The range that the next number must be in, set by the field that holds it.
    pub(crate) range: Option<(f64, f64)>,
    texts: Vec<Text>,
    errors: Vec<Diagnostic>,
}

/// A text that nodes point into.
struct Text {
    name: String,
    folder: PathBuf,
    lines: Vec<String>,
}

impl<'a> Session<'a> {
    /// Starts with no text and no error.
    pub(crate) fn new(env: &'a dyn Environment) -> Self {
        Self { env, range: None, texts: Vec::new(), errors: Vec::new() }
    }

    /// Adds a text and returns its index. `folder` is what relative paths in it start from.
    pub(crate) fn add_text(&mut self, name: &str, folder: &Path, content: &str) -> u32 {
        let lines = content.lines().map(str::to_owned).collect();
        self.texts.push(Text { name: name.to_owned(), folder: folder.to_owned(), lines });
        self.texts.len() as u32 - 1
    }

    /// The folder that relative paths of a place start from.
    pub(crate) fn folder(&self, spot: Spot) -> &Path {
        self.texts.get(spot.text as usize).map_or(Path::new(""), |text| &text.folder)
    }

    /// The place as users see it.
    pub(crate) fn origin(&self, spot: Spot) -> Origin {
        let file = self.texts.get(spot.text as usize).map_or_else(String::new, |text| text.name.clone());
        Origin { file, line: spot.line, column: spot.column }
    }

    /// The part of a token that is this text, where its line has it; else the token.
    pub(crate) fn find(&self, spot: Spot, needle: &str) -> Spot {
        let line = self
            .texts
            .get(spot.text as usize)
            .and_then(|text| text.lines.get((spot.line as usize).saturating_sub(1)));
        let Some(line) = line else { return spot };
        let skipped = spot.column.saturating_sub(1) as usize;
        let start = line.char_indices().nth(skipped).map_or(line.len(), |(at, _)| at);
        match line[start..].find(needle) {
            Some(at) => {
                let column = spot.column + line[start..start + at].chars().count() as u32;
                Spot { column, length: needle.chars().count() as u32, ..spot }
            }
            None => spot,
        }
    }

    /// Records an error; the result takes what was expected, a suggestion and notes.
    pub(crate) fn error(&mut self, code: Code, spot: Spot, message: impl Into<String>) -> &mut Diagnostic {
        let source = self
            .texts
            .get(spot.text as usize)
            .and_then(|text| text.lines.get((spot.line as usize).saturating_sub(1)))
            .cloned()
            .unwrap_or_default();
        self.errors.push(Diagnostic {
            code,
            message: message.into(),
            origin: self.origin(spot),
            length: spot.length.max(1),
            source,
            expected: String::new(),
            suggestion: None,
            notes: Vec::new(),
        });
        let last = self.errors.len() - 1;
        &mut self.errors[last]
    }

    /// How many errors there are.
    pub(crate) fn error_count(&self) -> usize {
        self.errors.len()
    }

    /// The value, or every error by place.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, Diagnostics> {
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => {
                let order: Vec<String> = self.texts.iter().map(|text| text.name.clone()).collect();
                let rank = |d: &Diagnostic| order.iter().position(|name| *name == d.origin.file);
                self.errors.sort_by_key(|d| (rank(d), d.origin.line, d.origin.column, d.code));
                self.errors.dedup();
                let wrong: Vec<Origin> = self
                    .errors
                    .iter()
                    .filter(|d| d.code != Code::Unsupported)
                    .map(|d| d.origin.clone())
                    .collect();
                self.errors.retain(|d| d.code != Code::Unsupported || !wrong.contains(&d.origin));
                Err(Diagnostics(self.errors))
            }
        }
    }
}

impl Diagnostic {
    /// Says what would be right.
    pub(crate) fn expecting(&mut self, expected: impl Into<String>) -> &mut Self {
        self.expected = expected.into();
        self
    }

    /// Suggests the known word that is nearest to what was written, if one is near enough.
    pub(crate) fn suggesting<S: AsRef<str>>(
        &mut self,
        written: &str,
        known: impl IntoIterator<Item = S>,
    ) -> &mut Self {
        self.suggestion = nearest(written, known);
        self
    }

    /// Adds another place.
    pub(crate) fn noting(&mut self, origin: Origin, message: impl Into<String>) -> &mut Self {
        self.notes.push(Note { origin, message: message.into() });
        self
    }
}

/// The nearest word by Damerau–Levenshtein distance, no further than a third of the written word's length.
pub(crate) fn nearest<S: AsRef<str>>(written: &str, known: impl IntoIterator<Item = S>) -> Option<String> {
    let limit = ((written.chars().count() + 1) / 3).max(1);
    known
        .into_iter()
        .map(|word| {
            let word = word.as_ref().to_owned();
            (strsim::damerau_levenshtein(&written.to_lowercase(), &word.to_lowercase()), word)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, word)| word)
}
