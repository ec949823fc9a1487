//! Pieces that are one token.

use std::collections::HashMap;

use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::key::Key;

/// Tokens by their bytes.
#[derive(Debug)]
pub(super) struct Whole {
    /// Open addressing with linear probing, at most half full.
    short: Vec<(Key, u32)>,
    shift: u32,
    long: HashMap<Box<[u8]>, u32, Xxh3DefaultBuilder>,
}

impl Whole {
    /// Of two tokens with the same bytes the last counts.
    pub(super) fn new(tokens: &[(&[u8], u32)]) -> Self {
        let bits = (tokens.len() * 2 + 2).next_power_of_two().trailing_zeros();
        let mut whole =
            Self { short: vec![(Key::default(), 0); 1 << bits], shift: 64 - bits, long: HashMap::default() };
        for (bytes, id) in tokens {
            match Key::of(bytes, 0, bytes.len()) {
                Some(key) => {
                    let at = whole.place(key);
                    whole.short[at] = (key, *id);
                }
                None => {
                    whole.long.insert((*bytes).into(), *id);
                }
            }
        }
        whole
    }

    /// The slot of a key, or the empty one where it would be.
    fn place(&self, key: Key) -> usize {
        let mut at = (key.hash() >> self.shift) as usize;
        while !self.short[at].0.is_empty() && self.short[at].0 != key {
            at = (at + 1) & (self.short.len() - 1);
        }
        at
    }

    /// The token of a short piece.
    pub(super) fn short(&self, key: Key) -> Option<u32> {
        let (found, id) = self.short[self.place(key)];
        (found == key).then_some(id)
    }

    /// The token of any piece.
    pub(super) fn get(&self, piece: &[u8]) -> Option<u32> {
        match Key::of(piece, 0, piece.len()) {
            Some(key) => self.short(key),
            None => self.long.get(piece).copied(),
        }
    }
}
