//! The bulk encoder: texts to ids with a cache of pieces.

use super::cache::{LONG_BYTES, LongCache, ShortCache, long_hash};
use super::key::Key;
use crate::Splitter;
use crate::model::{PieceModel, Room};
use crate::split::{Pattern, Published};

/// Pieces that are split off before they are looked up.
const BATCH: usize = 64;

/// Encodes many texts: the same ids as [`crate::Encoding::encode`], some times faster. One for each thread; its tables take up to some ten megabytes.
#[derive(Debug)]
pub struct Encoder<'e> {
    splitter: &'e Splitter,
    pieces: Pieces<'e>,
}

/// A piece that was split off.
#[derive(Debug, Clone, Copy, Default)]
struct Piece {
    /// That of no piece where this one is long.
    key: Key,
    hash: u64,
    /// The byte behind it.
    end: usize,
}

/// Pieces to ids.
#[derive(Debug)]
struct Pieces<'e> {
    model: &'e PieceModel,
    short: ShortCache,
    long: LongCache,
    room: Room,
}

impl<'e> Encoder<'e> {
    /// An encoder that has seen nothing.
    pub fn new(splitter: &'e Splitter, model: &'e PieceModel) -> Self {
        let pieces =
            Pieces { model, short: ShortCache::new(), long: LongCache::default(), room: Room::default() };
        Self { splitter, pieces }
    }

    /// Appends a text's ids.
    pub fn encode_into(&mut self, text: &str, ids: &mut Vec<u32>) {
        ids.reserve(text.len() / 4 + 4);
        let bytes = text.as_bytes();
        match self.splitter.by_hand() {
            Some(Published::Gpt2(pattern)) => self.pieces.encode(pattern, bytes, ids),
            Some(Published::Gpt4(pattern)) => self.pieces.encode(pattern, bytes, ids),
            Some(Published::O200k(pattern)) => self.pieces.encode(pattern, bytes, ids),
            Some(Published::Code(pattern)) => self.pieces.encode(pattern, bytes, ids),
            None => self.splitter.pieces(text, &mut |piece| self.pieces.encode_piece(piece.as_bytes(), ids)),
        }
    }

    /// Appends the ids of one piece, which the caller has split off.
    pub fn encode_piece(&mut self, piece: &[u8], ids: &mut Vec<u32>) {
        self.pieces.encode_piece(piece, ids);
    }
}

impl Pieces<'_> {
    /// Appends the ids of a text that is split by `pattern`.
    ///
    /// Some pieces are split off before the first of them is looked up, so that the memory that the lookups need is on its way meanwhile.
    fn encode(&mut self, pattern: impl Pattern, text: &[u8], ids: &mut Vec<u32>) {
        let mut batch = [Piece::default(); BATCH];
        let mut at = 0;
        while at < text.len() {
            let (mut start, mut count) = (at, 0);
            for piece in &mut batch {
                if at >= text.len() {
                    break;
                }
                let end = pattern.end(text, at);
                let key = Key::of(text, at, end).unwrap_or_default();
                *piece = Piece { key, hash: key.hash(), end };
                self.short.prefetch(piece.hash);
                at = end;
                count += 1;
            }
            for Piece { key, hash, end } in batch.iter().take(count).copied() {
                let piece = start..end;
                start = end;
                if key.is_empty() {
                    self.encode_long(text.get(piece).unwrap_or_default(), ids);
                } else if !self.short.get(key, hash, ids) {
                    self.learn(key, text.get(piece).unwrap_or_default(), ids);
                }
            }
        }
    }

    fn encode_piece(&mut self, piece: &[u8], ids: &mut Vec<u32>) {
        match Key::of(piece, 0, piece.len()) {
            Some(key) => {
                if !self.short.get(key, key.hash(), ids) {
                    self.learn(key, piece, ids);
                }
            }
            None => self.encode_long(piece, ids),
        }
    }

    #[cold]
    #[inline(never)]
    fn learn(&mut self, key: Key, piece: &[u8], ids: &mut Vec<u32>) {
        let start = ids.len();
        match self.model {
            PieceModel::Merges(bpe) => match bpe.whole.short(key) {
                Some(id) => ids.push(id),
                None => bpe.merge_into(piece, &mut self.room.scratch, ids),
            },
            PieceModel::Unigram(_) => self.model.encode_piece(piece, &mut self.room, ids),
        }
        self.short.insert(key, &ids[start..]);
    }

    #[inline(never)]
    fn encode_long(&mut self, piece: &[u8], ids: &mut Vec<u32>) {
        if piece.len() > LONG_BYTES {
            return self.model.encode_piece(piece, &mut self.room, ids);
        }
        let hash = long_hash(piece);
        if self.long.get(hash, piece, ids) {
            return;
        }
        let start = ids.len();
        self.model.encode_piece(piece, &mut self.room, ids);
        self.long.insert(hash, piece, &ids[start..]);
    }
}
