//! How often each piece stands in the text.
//!
//! Nearly every piece of a text has fewer than 16 bytes. Such a piece is its own key: two words that hold its bytes and its length, so that a look-up
//! neither follows a pointer nor compares byte by byte. Longer pieces lie one behind the other in one buffer. Both tables probe linearly.
//!
//! The hash is seeded anew for each table, so that no text can be written whose pieces all collide. No result depends on the order of a table.

use std::hash::{BuildHasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The most bytes of a piece that is its own key.
const SHORT_BYTES: usize = 15;
/// Slots of an empty table. A power of two.
const FIRST_SLOTS: usize = 1 << 10;

/// A short piece: its bytes from the lowest up, and its length in the highest byte of `high`. An empty slot has no length.
#[derive(Debug, Clone, Copy, Default)]
struct Short {
    low: u64,
    high: u64,
    count: u64,
}

/// A long piece: where its bytes begin in the buffer. An empty slot has no length.
#[derive(Debug, Clone, Copy, Default)]
struct Long {
    hash: u64,
    start: usize,
    len: usize,
    count: u64,
}

/// Counts of pieces, by their bytes.
#[derive(Debug)]
pub(crate) struct PieceCounter {
    seed: [u64; 2],
    short: Vec<Short>,
    num_short: usize,
    long: Vec<Long>,
    num_long: usize,
    bytes: Vec<u8>,
}

impl PieceCounter {
    pub(crate) fn new() -> Self {
        let random = RandomState::new();
        // No piece has a byte of 0xff there, since text is UTF-8 and a length is small: neither factor of the hash is ever zero.
        let seed = [0_u64, 1].map(|part| random.hash_one(part) | 0xff << 56);
        Self {
            seed,
            short: vec![Short::default(); FIRST_SLOTS],
            num_short: 0,
            long: vec![Long::default(); FIRST_SLOTS],
            num_long: 0,
            bytes: Vec::new(),
        }
    }

    /// Counts the piece `text[start..end]` once. An empty one is none.
    #[inline]
    pub(crate) fn add_range(&mut self, text: &[u8], start: usize, end: usize) {
        let len = end - start;
        if len == 0 || len > SHORT_BYTES {
            self.add(&text[start..end], 1);
        } else if let Some(block) = text[start..].first_chunk::<16>() {
            let kept = u128::from_le_bytes(*block) & (u128::MAX >> (128 - 8 * len));
            self.add_short(kept as u64, (kept >> 64) as u64 | (len as u64) << 56, 1);
        } else {
            self.add(&text[start..end], 1);
        }
    }

    /// Counts a piece `count` times.
    pub(crate) fn add(&mut self, piece: &[u8], count: u64) {
        if piece.is_empty() || count == 0 {
            return;
        }
        if piece.len() > SHORT_BYTES {
            self.add_long(piece, count);
            return;
        }
        let mut block = [0; 16];
        block[..piece.len()].copy_from_slice(piece);
        let block = u128::from_le_bytes(block);
        self.add_short(block as u64, (block >> 64) as u64 | (piece.len() as u64) << 56, count);
    }

    #[inline]
    fn add_short(&mut self, low: u64, high: u64, count: u64) {
        let mask = self.short.len() - 1;
        let mut at = hash(self.seed, low, high) as usize & mask;
        loop {
            let slot = &mut self.short[at];
            if slot.low == low && slot.high == high {
                slot.count += count;
                return;
            }
            if slot.high == 0 {
                *slot = Short { low, high, count };
                break;
            }
            at = (at + 1) & mask;
        }
        self.num_short += 1;
        if self.num_short * 8 > self.short.len() * 5 {
            self.grow_short();
        }
    }

    #[cold]
    fn grow_short(&mut self) {
        let grown = vec![Short::default(); self.short.len() * 2];
        let mask = grown.len() - 1;
        for slot in std::mem::replace(&mut self.short, grown) {
            if slot.high != 0 {
                let mut at = hash(self.seed, slot.low, slot.high) as usize & mask;
                while self.short[at].high != 0 {
                    at = (at + 1) & mask;
                }
                self.short[at] = slot;
            }
        }
    }

    fn add_long(&mut self, piece: &[u8], count: u64) {
        let hash = xxh3_64_with_seed(piece, self.seed[0]);
        let mask = self.long.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = &mut self.long[at];
            if slot.len == 0 {
                *slot = Long { hash, start: self.bytes.len(), len: piece.len(), count };
                self.bytes.extend_from_slice(piece);
                break;
            }
            if slot.hash == hash && &self.bytes[slot.start..slot.start + slot.len] == piece {
                slot.count += count;
                return;
            }
            at = (at + 1) & mask;
        }
        self.num_long += 1;
        if self.num_long * 8 > self.long.len() * 5 {
            let grown = vec![Long::default(); self.long.len() * 2];
            let mask = grown.len() - 1;
            for slot in std::mem::replace(&mut self.long, grown) {
                if slot.len != 0 {
                    let mut at = slot.hash as usize & mask;
                    while self.long[at].len != 0 {
                        at = (at + 1) & mask;
                    }
                    self.long[at] = slot;
                }
            }
        }
    }

    /// Bytes of memory that the tables take.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let slots = self.short.len() * size_of::<Short>() + self.long.len() * size_of::<Long>();
        (slots + self.bytes.capacity()) as u64
    }

    /// Calls `each` with every piece and its count, in no order.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&[u8], u64)) {
        for slot in self.short.iter().filter(|slot| slot.high != 0) {
            let (block, len) = slot.block();
            each(&block[..len], slot.count);
        }
        for slot in self.long.iter().filter(|slot| slot.len != 0) {
            each(&self.bytes[slot.start..slot.start + slot.len], slot.count);
        }
    }

    /// Calls `each` with every piece and its count, in the order of their bytes.
    pub(crate) fn for_each_sorted<E>(
        &self,
        mut each: impl FnMut(&[u8], u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut short: Vec<&Short> = self.short.iter().filter(|slot| slot.high != 0).collect();
        // The highest byte of a word is the first of the piece once turned; the length comes last and parts zero bytes from none.
        short.sort_unstable_by_key(|slot| (slot.low.swap_bytes(), slot.high.swap_bytes()));
        let bytes_of = |slot: &Long| &self.bytes[slot.start..slot.start + slot.len];
        let mut long: Vec<&Long> = self.long.iter().filter(|slot| slot.len != 0).collect();
        long.sort_unstable_by(|a, b| bytes_of(a).cmp(bytes_of(b)));
        let mut long = long.into_iter().peekable();
        for slot in short {
            let (block, len) = slot.block();
            while let Some(earlier) = long.next_if(|slot| bytes_of(slot) < &block[..len]) {
                each(bytes_of(earlier), earlier.count)?;
            }
            each(&block[..len], slot.count)?;
        }
        long.try_for_each(|slot| each(bytes_of(slot), slot.count))
    }

    /// Adds all that another one counted.
    pub(crate) fn absorb(&mut self, other: &Self) {
        other.for_each(|piece, count| self.add(piece, count));
    }
}

impl Short {
    /// Its bytes, and how many they are.
    fn block(&self) -> ([u8; 16], usize) {
        ((u128::from(self.high) << 64 | u128::from(self.low)).to_le_bytes(), (self.high >> 56) as usize)
    }
}

/// The halves of a full product, one upon the other: each bit of the key reaches every bit of the hash.
#[inline]
fn hash(seed: [u64; 2], low: u64, high: u64) -> u64 {
    let product = u128::from(low ^ seed[0]) * u128::from(high ^ seed[1]);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn counts_are_those_of_a_plain_map_and_come_in_the_order_of_bytes() {
        let text = "a bb a ccc \u{0} \u{0}\u{0} aaaaaaaaaaaaaaa aaaaaaaaaaaaaaaa aaaaaaaaaaaaaaaa é 日本語日本語日本語 bb b".repeat(3);
        let mut counter = PieceCounter::new();
        let mut plain: BTreeMap<&[u8], u64> = BTreeMap::new();
        let mut at = 0;
        for piece in text.split_inclusive(' ') {
            counter.add_range(text.as_bytes(), at, at + piece.len());
            at += piece.len();
            *plain.entry(piece.as_bytes()).or_default() += 1;
        }
        for number in 0..5000_u32 {
            counter.add(&number.to_le_bytes(), 1);
        }
        let numbers: Vec<[u8; 4]> = (0..5000_u32).map(u32::to_le_bytes).collect();
        for number in &numbers {
            *plain.entry(number).or_default() += 1;
        }
        let mut found = Vec::new();
        counter
            .for_each_sorted(|piece, count| -> Result<(), ()> {
                found.push((piece.to_vec(), count));
                Ok(())
            })
            .unwrap();
        let expected: Vec<(Vec<u8>, u64)> =
            plain.into_iter().map(|(piece, count)| (piece.to_vec(), count)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_two_counted_is_what_one_counts() {
        let (mut one, mut two) = (PieceCounter::new(), PieceCounter::new());
        one.add(b"x", 2);
        one.add(b"a piece of more than 15 bytes", 1);
        two.add(b"x", 3);
        two.add(b"a piece of more than 15 bytes", 4);
        one.absorb(&two);
        let mut found = Vec::new();
        one.for_each(|piece, count| found.push((piece.len(), count)));
        assert_eq!(found, [(1, 5), (29, 5)]);
    }
}
