//! A piece to ids, by whichever model a tokenizer has.

use crate::Bpe;
use crate::bpe::Scratch;
use crate::unigram::{Unigram, Viterbi};

/// A piece to ids. Bytes alone are merges of which there are none.
#[derive(Debug)]
pub enum PieceModel {
    /// Byte-pair encoding, and bytes alone.
    Merges(Box<Bpe>),
    /// The Unigram language model.
    Unigram(Unigram),
}

/// Memory that encoding uses again from piece to piece.
#[derive(Debug, Default)]
pub struct Room {
    pub(crate) scratch: Scratch,
    pub(crate) viterbi: Viterbi,
}

impl PieceModel {
    /// Bytes by id.
    pub fn tokens(&self) -> &[Vec<u8>] {
        match self {
            Self::Merges(bpe) => bpe.tokens(),
            Self::Unigram(unigram) => unigram.tokens(),
        }
    }

    /// The bytes of a token; none of an id that is not one.
    pub fn token(&self, id: u32) -> Option<&[u8]> {
        self.tokens().get(id as usize).map(Vec::as_slice)
    }

    /// Appends a piece's ids.
    pub fn encode_piece(&self, piece: &[u8], room: &mut Room, ids: &mut Vec<u32>) {
        match self {
            Self::Merges(bpe) => bpe.encode_piece_with(piece, &mut room.scratch, ids),
            Self::Unigram(unigram) => {
                unigram.encode_piece(piece, &mut room.viterbi, ids);
            }
        }
    }
}

impl From<Bpe> for PieceModel {
    fn from(bpe: Bpe) -> Self {
        Self::Merges(Box::new(bpe))
    }
}

impl From<Unigram> for PieceModel {
    fn from(unigram: Unigram) -> Self {
        Self::Unigram(unigram)
    }
}
