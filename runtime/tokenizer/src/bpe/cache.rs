//! What a thread remembers of the pieces that it has seen.
//!
//! A text's words are few and come again and again: most pieces are answered by one read of a table of 32-byte slots, two to a cache line. The tables grow
//! with the text up to a limit; after that a new piece takes the place of another one. A piece may be in four slots, so that work is bounded on any text.

use prefetch_index::prefetch_index;
use xxhash_rust::xxh3::xxh3_64;

use super::key::Key;

/// Ids that fit in a slot.
const INLINE_IDS: usize = 3;
/// `count` of a slot whose ids are in the store.
const STORED: u32 = u32::MAX;
/// Slots that a piece may be in.
const WAYS: usize = 4;
/// Slots at first, and at most.
const SLOT_BITS: (u32, u32) = (9, 17);
/// Ids that are stored before the table starts anew.
const MAX_STORED_IDS: usize = 1 << 20;

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(32))]
struct Slot {
    key: Key,
    ids: [u32; INLINE_IDS],
    count: u32,
}

/// Short pieces.
#[derive(Debug)]
pub(super) struct ShortCache {
    slots: Vec<Slot>,
    shift: u32,
    len: usize,
    /// Ids of pieces that have more than fit in a slot.
    stored: Vec<u32>,
}

impl ShortCache {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![Slot::default(); 1 << SLOT_BITS.0],
            shift: 64 - SLOT_BITS.0,
            len: 0,
            stored: Vec::new(),
        }
    }

    /// Asks for the memory that [`Self::get`] will read first.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch_index(&self.slots, (hash >> self.shift) as usize);
    }

    /// Appends a piece's ids, if it is known; `hash` is its key's.
    #[inline(always)]
    pub(super) fn get(&self, key: Key, hash: u64, ids: &mut Vec<u32>) -> bool {
        let home = (hash >> self.shift) as usize;
        // The first two ways lie in one cache line: which of them it is takes no branch, which would be guessed wrong now and then.
        let Some(first) = self.slots.get(home) else { return false };
        let at = home ^ usize::from(first.key != key);
        for at in [at, home ^ 2, home ^ 3] {
            let Some(slot) = self.slots.get(at) else { break };
            if slot.key == key {
                self.append(slot, ids);
                return true;
            }
        }
        false
    }

    #[inline(always)]
    fn append(&self, slot: &Slot, ids: &mut Vec<u32>) {
        if slot.count == STORED {
            let [from, count, _] = slot.ids.map(|part| part as usize);
            ids.extend_from_slice(self.stored.get(from..from + count).unwrap_or_default());
        } else {
            // Always all three: no branch on how many there are.
            let len = ids.len() + slot.count as usize;
            ids.extend_from_slice(&slot.ids);
            ids.truncate(len);
        }
    }

    /// Remembers a piece that is not known.
    pub(super) fn insert(&mut self, key: Key, ids: &[u32]) {
        if self.stored.len() + ids.len() > MAX_STORED_IDS {
            *self = Self::new();
        }
        if self.len * 3 >= self.slots.len() && self.slots.len() < 1 << SLOT_BITS.1 {
            self.grow();
        }
        let mut slot = Slot { key, ids: [0; INLINE_IDS], count: ids.len() as u32 };
        if ids.len() <= INLINE_IDS {
            slot.ids[..ids.len()].copy_from_slice(ids);
        } else {
            slot.ids = [self.stored.len() as u32, ids.len() as u32, 0];
            slot.count = STORED;
            self.stored.extend_from_slice(ids);
        }
        self.put(slot);
    }

    fn put(&mut self, slot: Slot) {
        let home = (slot.key.hash() >> self.shift) as usize;
        let free = (0..WAYS).map(|way| home ^ way).find(|at| self.slots[*at].key.is_empty());
        self.len += usize::from(free.is_some());
        self.slots[free.unwrap_or(home)] = slot;
    }

    fn grow(&mut self) {
        let slots = vec![Slot::default(); self.slots.len() * 4];
        self.shift -= 2;
        self.len = 0;
        for slot in std::mem::replace(&mut self.slots, slots) {
            if !slot.key.is_empty() {
                self.put(slot);
            }
        }
    }
}

/// Longest piece that is remembered, bytes: longer ones hardly come again.
pub(super) const LONG_BYTES: usize = 256;
/// Bytes that are stored before the table starts anew.
const MAX_STORED_BYTES: usize = 1 << 22;

#[derive(Debug, Clone, Copy, Default)]
struct LongSlot {
    /// Never 0 in a slot that is used.
    hash: u64,
    bytes: u32,
    ids: u32,
    num_bytes: u32,
    num_ids: u32,
}

/// Pieces of more than [`super::key::SHORT_BYTES`] and at most [`LONG_BYTES`] bytes.
#[derive(Debug, Default)]
pub(super) struct LongCache {
    slots: Vec<LongSlot>,
    len: usize,
    bytes: Vec<u8>,
    ids: Vec<u32>,
}

/// The hash of a piece for [`LongCache`].
pub(super) fn long_hash(piece: &[u8]) -> u64 {
    xxh3_64(piece) | 1
}

impl LongCache {
    /// Appends a piece's ids, if it is known.
    pub(super) fn get(&self, hash: u64, piece: &[u8], ids: &mut Vec<u32>) -> bool {
        let home = (hash >> 32) as usize & self.slots.len().wrapping_sub(1);
        for way in 0..WAYS {
            let Some(slot) = self.slots.get(home ^ way) else { break };
            let from = slot.bytes as usize;
            if slot.hash == hash && self.bytes.get(from..from + slot.num_bytes as usize) == Some(piece) {
                let from = slot.ids as usize;
                ids.extend_from_slice(self.ids.get(from..from + slot.num_ids as usize).unwrap_or_default());
                return true;
            }
        }
        false
    }

    /// Remembers a piece that is not known.
    pub(super) fn insert(&mut self, hash: u64, piece: &[u8], ids: &[u32]) {
        if self.bytes.len() + piece.len() > MAX_STORED_BYTES {
            *self = Self::default();
        }
        if self.len * 2 >= self.slots.len() && self.slots.len() < 1 << SLOT_BITS.1 {
            let slots = vec![LongSlot::default(); (self.slots.len() * 4).max(1 << SLOT_BITS.0)];
            self.len = 0;
            for slot in std::mem::replace(&mut self.slots, slots) {
                if slot.hash != 0 {
                    self.put(slot);
                }
            }
        }
        self.put(LongSlot {
            hash,
            bytes: self.bytes.len() as u32,
            ids: self.ids.len() as u32,
            num_bytes: piece.len() as u32,
            num_ids: ids.len() as u32,
        });
        self.bytes.extend_from_slice(piece);
        self.ids.extend_from_slice(ids);
    }

    fn put(&mut self, slot: LongSlot) {
        let home = (slot.hash >> 32) as usize & (self.slots.len() - 1);
        let free = (0..WAYS).map(|way| home ^ way).find(|at| self.slots[*at].hash == 0);
        self.len += usize::from(free.is_some());
        self.slots[free.unwrap_or(home)] = slot;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_what_was_put_in_however_many_pieces_there_are() {
        let (mut short, mut long) = (ShortCache::new(), LongCache::default());
        let mut found = 0;
        for n in 0..400_000_u32 {
            // The second time around the pieces are those of the first.
            let number = n % 200_000;
            let text = format!("{number}");
            let expected: Vec<u32> = (0..number % 7).map(|at| number + at).collect();
            let key = Key::of(text.as_bytes(), 0, text.len()).unwrap();
            let mut ids = Vec::new();
            if short.get(key, key.hash(), &mut ids) {
                assert_eq!(ids, expected);
                found += 1;
            } else {
                short.insert(key, &expected);
            }
            let text = format!("a piece with the number {number}");
            let hash = long_hash(text.as_bytes());
            ids.clear();
            if long.get(hash, text.as_bytes(), &mut ids) {
                assert_eq!(ids, expected);
                found += 1;
            } else {
                long.insert(hash, text.as_bytes(), &expected);
            }
        }
        assert!(found > 10_000, "{found}");
        assert!(short.slots.len() <= 1 << SLOT_BITS.1 && short.stored.len() <= MAX_STORED_IDS);
        assert!(long.bytes.len() <= MAX_STORED_BYTES);
    }
}
