//! Text to pieces. No token crosses a piece's end.
//!
//! The patterns that published tokenizers use are split by hand-written code, which gives the pieces that the regex gives, on any text; the property
//! tests of this module compare them with a backtracking engine. Any other pattern is carried out by a regex engine, some twenty times slower.

mod classes;
mod code;
mod gpt2;
mod gpt4;
mod o200k;
mod pattern;
mod portable;
mod portable_class;
mod published;
mod regexes;
#[cfg(test)]
mod tests;
mod word;

use cupola_specs::job::Digits;

use crate::EngineError;
pub(crate) use pattern::Pattern;
pub use portable::check_portable;
pub(crate) use published::Published;
pub use published::patterns_of;
pub(crate) use published::{pattern_named, portable};

/// Cuts text into pieces.
#[derive(Debug, Clone)]
pub struct Splitter {
    patterns: Vec<String>,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    ByHand(Published),
    ByRegex(regexes::Regexes),
}

impl Splitter {
    /// The splitter of a pattern and a limit of digits: `gpt2`, `gpt4` (and `nanochat`, which differs in its digits alone), `cl100k` (tiktoken's form of `gpt4`),
    /// `o200k`, `code`, or a regex.
    ///
    /// # Errors
    /// A pattern that is no regex.
    pub fn named(pattern: &str, digits: Digits) -> Result<Self, EngineError> {
        Self::of_patterns(&patterns_of(pattern, digits))
    }

    /// The splitter of regexes that each split the pieces of the one before, as `tokenizer.json` has them.
    ///
    /// # Errors
    /// A pattern that is no regex.
    pub fn of_patterns(patterns: &[String]) -> Result<Self, EngineError> {
        let kind = match Published::of(patterns) {
            Some(published) => Kind::ByHand(published),
            None => Kind::ByRegex(regexes::Regexes::new(patterns)?),
        };
        Ok(Self { patterns: patterns.to_vec(), kind })
    }

    /// The regexes that it does the work of.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether hand-written code splits, not a regex engine.
    pub fn is_fast(&self) -> bool {
        matches!(self.kind, Kind::ByHand(_))
    }

    /// Calls `each` with every piece in order; their concatenation is the text.
    pub fn pieces<'t>(&self, text: &'t str, each: &mut impl FnMut(&'t str)) {
        match &self.kind {
            Kind::ByHand(Published::Gpt2(pattern)) => pieces_of(*pattern, text, each),
            Kind::ByHand(Published::Gpt4(pattern)) => pieces_of(*pattern, text, each),
            Kind::ByHand(Published::O200k(pattern)) => pieces_of(*pattern, text, each),
            Kind::ByHand(Published::Code(pattern)) => pieces_of(*pattern, text, each),
            Kind::ByRegex(regexes) => regexes.pieces(text, each),
        }
    }

    /// The hand-written splitter, if it is one.
    pub(crate) fn by_hand(&self) -> Option<Published> {
        match self.kind {
            Kind::ByHand(published) => Some(published),
            Kind::ByRegex(_) => None,
        }
    }
}

fn pieces_of<'t>(pattern: impl Pattern, text: &'t str, each: &mut impl FnMut(&'t str)) {
    let mut at = 0;
    while at < text.len() {
        let end = pattern.end(text.as_bytes(), at);
        // A pattern ends its piece behind a character: `get` gives what is asked for.
        each(text.get(at..end).unwrap_or_default());
        at = end;
    }
}
