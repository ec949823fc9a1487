//! A piece to ids: the merge of lowest rank first, the leftmost of equals.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

/// A piece of up to this many bytes is merged by scanning; a longer one with a heap.
const SCAN_BYTES: usize = 48;
/// No merge.
const NONE: u32 = u32::MAX;

/// Hashes the small integers that pairs of ids are.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct PairHasher(u64);

impl Hasher for PairHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A map whose keys are [`pair_key`]s.
pub(super) type PairMap<V> = HashMap<u64, V, BuildHasherDefault<PairHasher>>;
/// A map whose keys are byte strings.
pub(super) type BytesMap<V> = HashMap<Box<[u8]>, V, xxhash_rust::xxh3::Xxh3DefaultBuilder>;

/// A pair of ids as one integer that sorts as the pair does.
pub(super) fn pair_key(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// Vocabulary and merges.
#[derive(Debug)]
pub(super) struct Bpe {
    /// Bytes by id; a special token's are its spelling's.
    tokens: Vec<Vec<u8>>,
    byte_ids: [u32; 256],
    /// Rank and new id by pair.
    merges: PairMap<(u32, u32)>,
    /// Pieces that are one token, by their bytes.
    whole: BytesMap<u32>,
}

impl Bpe {
    /// `tokens` are the bytes by id, `merges` the pairs in order of rank with their new id; `specials` never come out of text.
    /// With `ignore_merges` a piece that is a token is that token, whatever the merges make of it.
    pub(super) fn new(
        tokens: Vec<Vec<u8>>,
        byte_ids: &[u32; 256],
        merges: &[(u32, u32, u32)],
        specials: &[u32],
        ignore_merges: bool,
    ) -> Self {
        let ranked = merges.iter().enumerate();
        let merges =
            ranked.rev().map(|(rank, (a, b, new))| (pair_key(*a, *b), (rank as u32, *new))).collect();
        let mut bpe = Self { tokens, byte_ids: *byte_ids, merges, whole: BytesMap::default() };
        let mut whole = BytesMap::default();
        let mut merged = Vec::new();
        for (id, bytes) in bpe.tokens.iter().enumerate() {
            let id = id as u32;
            merged.clear();
            if bytes.is_empty() || specials.contains(&id) {
                continue;
            }
            bpe.merge(bytes, &mut merged);
            if ignore_merges || merged == [id] {
                whole.insert(bytes.clone().into_boxed_slice(), id);
            }
        }
        bpe.whole = whole;
        bpe
    }

    /// Bytes by id.
    pub(super) fn tokens(&self) -> &[Vec<u8>] {
        &self.tokens
    }

    /// The id of a piece that is one token.
    pub(super) fn whole(&self, piece: &[u8]) -> Option<u32> {
        self.whole.get(piece).copied()
    }

    /// Appends a piece's ids.
    pub(super) fn encode(&self, piece: &[u8], ids: &mut Vec<u32>) {
        match self.whole(piece) {
            Some(id) => ids.push(id),
            None => self.merge(piece, ids),
        }
    }

    fn merge(&self, piece: &[u8], ids: &mut Vec<u32>) {
        let start = ids.len();
        ids.extend(piece.iter().map(|byte| self.byte_ids[*byte as usize]));
        if piece.len() <= SCAN_BYTES {
            self.merge_by_scan(ids, start);
        } else {
            self.merge_by_heap(ids, start);
        }
    }

    fn rank(&self, left: u32, right: u32) -> (u32, u32) {
        self.merges.get(&pair_key(left, right)).copied().unwrap_or((NONE, NONE))
    }

    fn merge_by_scan(&self, ids: &mut Vec<u32>, start: usize) {
        let mut ranks = [(NONE, NONE); SCAN_BYTES];
        let mut count = ids.len() - start;
        for at in 0..count.saturating_sub(1) {
            ranks[at] = self.rank(ids[start + at], ids[start + at + 1]);
        }
        while count > 1 {
            let mut best = 0;
            for at in 1..count - 1 {
                if ranks[at].0 < ranks[best].0 {
                    best = at;
                }
            }
            if ranks[best].0 == NONE {
                break;
            }
            ids[start + best] = ranks[best].1;
            ids.remove(start + best + 1);
            count -= 1;
            ranks.copy_within(best + 1..count, best);
            if best + 1 < count {
                ranks[best] = self.rank(ids[start + best], ids[start + best + 1]);
            }
            if best > 0 {
                ranks[best - 1] = self.rank(ids[start + best - 1], ids[start + best]);
            }
        }
    }

    fn merge_by_heap(&self, ids: &mut Vec<u32>, start: usize) {
        let mut symbols = ids.split_off(start);
        let count = symbols.len();
        let mut next: Vec<usize> = (1..=count).collect();
        let mut previous: Vec<usize> = (0..count).map(|at| at.wrapping_sub(1)).collect();
        let mut heap = BinaryHeap::new();
        let offer = |symbols: &[u32], left: usize, right: usize, heap: &mut BinaryHeap<_>| {
            if left < count && right < count {
                let (rank, new) = self.rank(symbols[left], symbols[right]);
                if rank != NONE {
                    heap.push(Reverse((rank, left, new)));
                }
            }
        };
        for at in 0..count - 1 {
            offer(&symbols, at, at + 1, &mut heap);
        }
        while let Some(Reverse((rank, left, new))) = heap.pop() {
            let right = next[left];
            if symbols[left] == NONE || right >= count || self.rank(symbols[left], symbols[right]).0 != rank {
                continue;
            }
            symbols[left] = new;
            symbols[right] = NONE;
            next[left] = next[right];
            if next[left] < count {
                previous[next[left]] = left;
            }
            offer(&symbols, left, next[left], &mut heap);
            offer(&symbols, previous[left], left, &mut heap);
        }
        ids.extend(symbols.into_iter().filter(|id| *id != NONE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters() -> Bpe {
        // Ids 0 … 255 are the bytes; then aa, ab, aab, bb.
        let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        tokens.extend(["aa", "ab", "aab", "bb"].map(|text| text.as_bytes().to_vec()));
        let byte_ids = std::array::from_fn(|byte| byte as u32);
        let (a, b) = (u32::from(b'a'), u32::from(b'b'));
        Bpe::new(tokens, &byte_ids, &[(a, a, 256), (a, b, 257), (256, b, 258), (b, b, 259)], &[], false)
    }

    #[test]
    fn the_heap_and_the_scan_agree() {
        let bpe = letters();
        let mut state = 3_u64;
        for length in 1..SCAN_BYTES {
            let piece: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    if state >> 62 == 0 { b'b' } else { b'a' }
                })
                .collect();
            let bytes = || piece.iter().map(|byte| u32::from(*byte)).collect::<Vec<_>>();
            let (mut scanned, mut heaped) = (bytes(), bytes());
            bpe.merge_by_scan(&mut scanned, 0);
            bpe.merge_by_heap(&mut heaped, 0);
            assert_eq!(scanned, heaped, "{piece:?}");
        }
    }

    #[test]
    fn equal_merges_go_from_the_left_and_lower_ranks_first() {
        let mut ids = Vec::new();
        letters().encode(b"aaab", &mut ids);
        assert_eq!(ids, [256, 257]);
    }
}
