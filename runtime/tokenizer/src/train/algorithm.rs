//! The three ways to choose tokens, behind one name, so that a sweep can compare them by bits per byte.

use cupola_specs::job::TokenizerAlgorithm;

use super::{Ended, Tally, Trained};
use crate::unigram::{UnigramJson, UnigramTrained};
use crate::{AddedToken, Bpe, EngineError, PieceModel, TokenizerFile, TokenizerJson};

/// What an algorithm made of a text.
#[derive(Debug, Clone)]
pub enum Learned {
    /// Tokens and merges.
    Bpe(Trained),
    /// Tokens and scores.
    Unigram(UnigramTrained),
    /// Tokens without a merge.
    Bytes(Trained),
}

impl Learned {
    /// Which algorithm it was.
    pub fn algorithm(&self) -> TokenizerAlgorithm {
        match self {
            Self::Bpe(_) => TokenizerAlgorithm::Bpe,
            Self::Unigram(_) => TokenizerAlgorithm::Unigram,
            Self::Bytes(_) => TokenizerAlgorithm::Bytes,
        }
    }

    /// Bytes by id; a special token's are those of its spelling. Special tokens come first.
    pub fn tokens(&self) -> &[Vec<u8>] {
        match self {
            Self::Bpe(trained) | Self::Bytes(trained) => &trained.vocabulary.tokens,
            Self::Unigram(trained) => trained.model.tokens(),
        }
    }

    /// The size that was asked for, and why there are no more tokens.
    pub fn ended(&self) -> (usize, Ended) {
        match self {
            Self::Bpe(trained) | Self::Bytes(trained) => (trained.asked, trained.ended),
            Self::Unigram(trained) => (trained.asked, trained.ended),
        }
    }

    /// What was counted.
    pub fn tally(&self) -> Tally {
        match self {
            Self::Bpe(trained) | Self::Bytes(trained) => trained.tally,
            Self::Unigram(trained) => trained.tally,
        }
    }

    /// The encoder.
    ///
    /// # Errors
    /// Never for what training made; [`Bpe::new`] says what it checks.
    pub fn into_model(self) -> Result<PieceModel, EngineError> {
        match self {
            Self::Bpe(trained) | Self::Bytes(trained) => {
                let specials = trained.specials();
                Bpe::new(trained.vocabulary, &specials, false).map(PieceModel::from)
            }
            Self::Unigram(trained) => Ok(PieceModel::Unigram(trained.model)),
        }
    }

    /// Merges in all; a model without merges has none.
    pub fn num_merges(&self) -> usize {
        match self {
            Self::Bpe(trained) | Self::Bytes(trained) => trained.vocabulary.merges.len(),
            Self::Unigram(_) => 0,
        }
    }

    /// The file. `patterns` are the regexes that split the text, `specials` the spellings of the special tokens, in the order of their ids.
    pub fn into_file(self, patterns: Vec<String>, specials: &[String]) -> TokenizerFile {
        let added = AddedToken::specials(specials);
        match self {
            Self::Bpe(trained) | Self::Bytes(trained) => {
                let vocabulary = trained.vocabulary;
                TokenizerFile::from(TokenizerJson { patterns, vocabulary, ignore_merges: false, added })
            }
            Self::Unigram(trained) => {
                TokenizerFile::Unigram(UnigramJson { patterns, model: trained.model, added })
            }
        }
    }
}
