//! The three ways to choose tokens, behind one name, so that a sweep can compare them by bits per byte.

use serde::{Deserialize, Serialize};

use super::{Ended, Tally, Trained};
use crate::unigram::{Unigram, UnigramTrained, Viterbi};
use crate::{Bpe, EngineError};

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Byte-pair encoding: the most frequent pairs.
    #[default]
    Bpe,
    /// The Unigram language model: the tokens that make the text most likely.
    Unigram,
    /// The special tokens and the 256 bytes, nothing else.
    Bytes,
}

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
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Bpe(_) => Algorithm::Bpe,
            Self::Unigram(_) => Algorithm::Unigram,
            Self::Bytes(_) => Algorithm::Bytes,
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
                Bpe::new(trained.vocabulary, &specials, false).map(|bpe| PieceModel::Merges(Box::new(bpe)))
            }
            Self::Unigram(trained) => Ok(PieceModel::Unigram(trained.model)),
        }
    }
}

/// A piece to ids, by any of the algorithms. Bytes alone are merges of which there are none.
#[derive(Debug)]
pub enum PieceModel {
    /// Byte-pair encoding, and bytes alone.
    Merges(Box<Bpe>),
    /// The Unigram language model.
    Unigram(Unigram),
}

impl PieceModel {
    /// Bytes by id.
    pub fn tokens(&self) -> &[Vec<u8>] {
        match self {
            Self::Merges(bpe) => bpe.tokens(),
            Self::Unigram(unigram) => unigram.tokens(),
        }
    }

    /// Appends a piece's ids. `room` is used again from piece to piece.
    pub fn encode_piece(&self, piece: &[u8], room: &mut Viterbi, ids: &mut Vec<u32>) {
        match self {
            Self::Merges(bpe) => bpe.encode_piece(piece, ids),
            Self::Unigram(unigram) => {
                unigram.encode_piece(piece, room, ids);
            }
        }
    }
}
