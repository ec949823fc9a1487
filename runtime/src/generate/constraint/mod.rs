//! What may come next in an answer that has a form: a JSON schema, a regular expression, a grammar.
//!
//! The sampler asks a [`TokenMask`] which tokens are allowed before it chooses, and tells it what it chose. [`GrammarCompiler`] makes masks by
//! llguidance, which follows the grammar byte by byte along the vocabulary's tree of tokens. A mask changes no logit: log-probabilities are the
//! network's own.
//!
//! Invariants: an end token is allowed where the answer is whole, and only there; a grammar's compilation and each of its steps are bounded by
//! counted work, so that the same grammar always passes or always fails.

mod compiler;
mod formats;
mod schema_work;
#[cfg(test)]
mod tests;

pub use compiler::{Grammar, GrammarCompiler, Word};

use super::GenerateError;

/// Follows one answer and says what may come next.
pub trait TokenMask: std::fmt::Debug + Send {
    /// The tokens that may come next; at least one.
    ///
    /// # Errors
    /// The grammar asks for more work than a step may do.
    fn allowed(&mut self) -> Result<AllowedTokens, GenerateError>;

    /// Goes on behind a token that was allowed.
    ///
    /// # Errors
    /// The grammar asks for more work than a step may do.
    fn advance(&mut self, token: u32) -> Result<(), GenerateError>;

    /// The tokens that end an answer which is whole. A request must end at each of them.
    fn end_ids(&self) -> &[u32];

    /// Another mask at the same place, which goes its own way.
    fn split(&self) -> Box<dyn TokenMask>;
}

/// The mask of one request. A clone goes its own way.
#[derive(Debug)]
pub struct Constraint(pub Box<dyn TokenMask>);

impl Clone for Constraint {
    fn clone(&self) -> Self {
        Self(self.0.split())
    }
}

/// A set of tokens: a bit for each token of the vocabulary, the lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedTokens {
    words: Vec<u32>,
}

impl AllowedTokens {
    /// The set of the bits in `words`.
    pub fn new(words: Vec<u32>) -> Self {
        Self { words }
    }

    /// Whether a token is in it.
    pub fn contains(&self, token: u32) -> bool {
        self.words.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Gives every token that is not in it no chance.
    pub(super) fn apply(&self, logits: &mut [f32]) {
        for (index, part) in logits.chunks_mut(32).enumerate() {
            match self.words.get(index).copied().unwrap_or(0) {
                0 => part.fill(f32::NEG_INFINITY),
                u32::MAX => {}
                word => {
                    let barred = part.iter_mut().enumerate().filter(|(bit, _)| word >> bit & 1 == 0);
                    barred.for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
                }
            }
        }
    }
}
