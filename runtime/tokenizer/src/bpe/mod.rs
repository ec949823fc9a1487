//! Pieces to ids by byte-pair encoding.
//!
//! A piece that is one token is found by one read of a table; of any other the merges are carried out, lowest rank first. Short pieces are merged by
//! scanning, long ones with a heap, in n log n: a hundred thousand times the letter `a` costs no more for each byte than a word does.

mod cache;
mod encoder;
mod key;
mod merge;
mod pairs;
mod whole;

pub use encoder::Encoder;
pub(crate) use merge::Scratch;

use crate::{EngineError, Vocabulary};

/// A vocabulary and its merges, made for encoding.
#[derive(Debug)]
pub struct Bpe {
    vocabulary: Vocabulary,
    pairs: pairs::Pairs,
    whole: whole::Whole,
}

impl Bpe {
    /// Makes the tables. `specials` never come out of a text. With `ignore_merges` a piece that is a token is that token, whatever the merges make of it.
    ///
    /// # Errors
    /// A vocabulary whose merges do not fit its tokens, as [`Vocabulary::check`] finds it.
    pub fn new(vocabulary: Vocabulary, specials: &[u32], ignore_merges: bool) -> Result<Self, EngineError> {
        vocabulary.check()?;
        let pairs = pairs::Pairs::new(&vocabulary.byte_ids, &vocabulary.merges);
        let mut is_special = vec![false; vocabulary.tokens.len()];
        for id in specials {
            if let Some(flag) = is_special.get_mut(*id as usize) {
                *flag = true;
            }
        }
        let mut scratch = Scratch::default();
        let mut merged = Vec::new();
        let mut whole = Vec::with_capacity(vocabulary.tokens.len());
        for (id, bytes) in vocabulary.tokens.iter().enumerate() {
            if bytes.is_empty() || is_special[id] {
                continue;
            }
            merged.clear();
            if !ignore_merges {
                merge::merge(&pairs, &vocabulary.byte_ids, bytes, &mut scratch, &mut merged);
            }
            if ignore_merges || merged == [id as u32] {
                whole.push((bytes.as_slice(), id as u32));
            }
        }
        let whole = whole::Whole::new(&whole);
        Ok(Self { vocabulary, pairs, whole })
    }

    /// What it was made of.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Bytes by id.
    pub fn tokens(&self) -> &[Vec<u8>] {
        &self.vocabulary.tokens
    }

    /// The bytes of a token; none of an id that is not one.
    pub fn token(&self, id: u32) -> Option<&[u8]> {
        self.vocabulary.tokens.get(id as usize).map(Vec::as_slice)
    }

    /// The id of a piece that is one token.
    pub fn whole(&self, piece: &[u8]) -> Option<u32> {
        self.whole.get(piece)
    }

    /// Appends a piece's ids.
    pub fn encode_piece(&self, piece: &[u8], ids: &mut Vec<u32>) {
        self.encode_piece_with(piece, &mut Scratch::default(), ids);
    }

    /// The same with memory that was used before.
    pub(crate) fn encode_piece_with(&self, piece: &[u8], scratch: &mut Scratch, ids: &mut Vec<u32>) {
        match self.whole.get(piece) {
            Some(id) => ids.push(id),
            None => self.merge_into(piece, scratch, ids),
        }
    }

    fn merge_into(&self, piece: &[u8], scratch: &mut Scratch, ids: &mut Vec<u32>) {
        if self.vocabulary.merges.is_empty() {
            // Bytes alone: a piece may be a whole text, so it takes no memory but its ids.
            return ids.extend(piece.iter().map(|byte| self.vocabulary.byte_ids[usize::from(*byte)]));
        }
        merge::merge(&self.pairs, &self.vocabulary.byte_ids, piece, scratch, ids);
    }
}
