//! Open-addressing tables that are emptied by a count, not by a sweep: one of them serves all documents without an allocation.

/// Keys to small numbers, numbered in the order that they came.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    slots: Vec<Slot>,
    stamp: u32,
    used: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    key: u64,
    stamp: u32,
    number: u32,
}

/// Fewest slots.
const MIN_SLOTS: usize = 1024;

impl Numbers {
    /// Empties the table and makes room for so many keys.
    pub(super) fn clear(&mut self, keys: usize) {
        let slots = (keys.saturating_mul(2)).next_power_of_two().max(MIN_SLOTS);
        // A table that one huge document made is not kept for the small ones behind it.
        let is_huge = self.slots.len() > (1 << 20) && self.slots.len() / 64 > slots;
        self.used = 0;
        if self.slots.len() < slots || is_huge || self.stamp == u32::MAX {
            self.slots = vec![Slot::default(); slots];
            self.stamp = 0;
        }
        self.stamp += 1;
    }

    /// The number of a key, and whether it is new.
    pub(super) fn number(&mut self, key: u64) -> (u32, bool) {
        if (self.used as usize + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut at = spread(key) & mask;
        loop {
            let slot = &mut self.slots[at];
            if slot.stamp != self.stamp {
                *slot = Slot { key, stamp: self.stamp, number: self.used };
                self.used += 1;
                return (self.used - 1, true);
            }
            if slot.key == key {
                return (slot.number, false);
            }
            at = (at + 1) & mask;
        }
    }

    /// Keys so far.
    pub(super) fn len(&self) -> usize {
        self.used as usize
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(MIN_SLOTS);
        let before = std::mem::replace(&mut self.slots, vec![Slot::default(); slots]);
        let (stamp, mask) = (self.stamp, slots - 1);
        self.stamp = 1;
        for slot in before.into_iter().filter(|slot| slot.stamp == stamp) {
            let mut at = spread(slot.key) & mask;
            while self.slots[at].stamp == 1 {
                at = (at + 1) & mask;
            }
            self.slots[at] = Slot { stamp: 1, ..slot };
        }
    }
}

/// A key's first place: the upper half of a product, in which every bit of the key has a part.
fn spread(key: u64) -> usize {
    let product = u128::from(key ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    ((product >> 64) as u64 ^ product as u64) as usize
}

/// The hash of a word or a line: eight bytes a step, the last ones read over those before them.
pub(super) fn hash_of(bytes: &[u8]) -> u64 {
    const STEP: u128 = 0xa076_1d64_78bd_642f;
    // Lengths change bits all over, so that none of them makes up for a letter.
    let mut hash = (bytes.len() as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    if let Some(last) = bytes.last_chunk::<8>() {
        let mut rest = bytes;
        while let Some((word, behind)) = rest.split_first_chunk::<8>() {
            hash = fold(hash ^ u64::from_le_bytes(*word), STEP);
            rest = behind;
        }
        return fold(hash ^ u64::from_le_bytes(*last), STEP);
    }
    let word = match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
        }
        // Up to three bytes: the first, the middle one and the last, which are all that there are.
        _ => match (bytes.first(), bytes.get(bytes.len() / 2), bytes.last()) {
            (Some(first), Some(middle), Some(last)) => {
                u64::from(*first) | u64::from(*middle) << 8 | u64::from(*last) << 16
            }
            _ => 0,
        },
    };
    fold(hash ^ word, STEP)
}

fn fold(word: u64, by: u128) -> u64 {
    let product = u128::from(word) * by;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_numbers_while_the_table_grows_and_is_emptied() {
        let mut table = Numbers::default();
        for round in 0..3 {
            table.clear(3);
            for key in 0..5000_u64 {
                assert_eq!(table.number(key * 7 + round), (key as u32, true));
            }
            for key in 0..5000_u64 {
                assert_eq!(table.number(key * 7 + round), (key as u32, false));
            }
            assert_eq!(table.len(), 5000);
        }
    }

    #[test]
    fn hashes_tell_texts_apart() {
        let mut texts: Vec<Vec<u8>> = ["", "aaaaaaaa", "aaaaaaaaa", "aaaaaaaa\0"].map(Vec::from).to_vec();
        // All short words of some letters that lie close to each other.
        let letters = [0, 1, 2, 3, b'`', b'a', b'b', b'c'];
        for first in letters {
            texts.push(vec![first]);
            for second in letters {
                texts.push(vec![first, second]);
                texts.extend(letters.map(|third| vec![first, second, third]));
                texts.extend(letters.map(|third| vec![first, second, third, third]));
                texts.extend(letters.map(|third| vec![first, second, second, second, third]));
            }
        }
        let hashes: std::collections::BTreeSet<u64> = texts.iter().map(|text| hash_of(text)).collect();
        assert_eq!(hashes.len(), texts.len());
    }
}
