//! The 4-grams of the questions: a bitmap that says no to nearly all of a clean text, and a table behind it.

/// Words in a seed.
pub(super) const SEED: usize = 4;

/// A seed's place: word `position` of sequence `sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Posting {
    pub(super) key: u64,
    pub(super) sequence: u32,
    pub(super) position: u32,
}

/// The hash of four words.
pub(super) fn key(words: &[u32]) -> u64 {
    let mut hash = 0x51_7c_c1_b7_27_22_0a_95u64;
    for word in words.iter().take(SEED) {
        hash = (hash.rotate_left(23) ^ u64::from(*word)).wrapping_mul(0x9fb2_1c65_1e98_df25);
    }
    hash ^ (hash >> 32)
}

/// All seeds by key.
#[derive(Debug, Default)]
pub(super) struct Seeds {
    /// Sorted by key, sequence, position.
    postings: Vec<Posting>,
    /// Open addressing: one plus the first posting of a key, zero where free.
    slots: Vec<u32>,
    bitmap: Vec<u64>,
}

impl Seeds {
    pub(super) fn new(mut postings: Vec<Posting>) -> Self {
        postings.sort_unstable();
        postings.dedup();
        let keys = postings.chunk_by(|a, b| a.key == b.key).count();
        let mut seeds = Self {
            slots: vec![0; (2 * keys + 1).next_power_of_two()],
            bitmap: vec![0; (keys / 2 + 16).next_power_of_two()],
            postings: Vec::new(),
        };
        let mut first = 0;
        for group in postings.chunk_by(|a, b| a.key == b.key) {
            let key = group[0].key;
            let (word, bit) = seeds.bit(key);
            seeds.bitmap[word] |= bit;
            let mut slot = seeds.slot(key);
            while seeds.slots[slot] != 0 {
                slot = (slot + 1) & (seeds.slots.len() - 1);
            }
            seeds.slots[slot] = first as u32 + 1;
            first += group.len();
        }
        seeds.postings = postings;
        seeds
    }

    /// Bytes that the seeds take.
    pub(super) fn bytes(&self) -> usize {
        self.postings.len() * size_of::<Posting>() + self.slots.len() * 4 + self.bitmap.len() * 8
    }

    fn bit(&self, key: u64) -> (usize, u64) {
        ((key >> 6) as usize & (self.bitmap.len() - 1), 1 << (key & 63))
    }

    fn slot(&self, key: u64) -> usize {
        (key >> 30) as usize & (self.slots.len() - 1)
    }

    /// Whether a key may be a seed: false is certain.
    #[inline]
    pub(super) fn may_hold(&self, key: u64) -> bool {
        let (word, bit) = self.bit(key);
        self.bitmap.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// The places of a key, and the number of the first, which names the key.
    pub(super) fn find(&self, key: u64) -> (u32, &[Posting]) {
        let mut slot = self.slot(key);
        while let Some(&first) = self.slots.get(slot).filter(|first| **first != 0) {
            let rest = &self.postings[first as usize - 1..];
            if rest[0].key == key {
                let len = rest.iter().take_while(|posting| posting.key == key).count();
                return (first, &rest[..len]);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        (0, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        let word = |at: u32| at.wrapping_mul(2_654_435_761);
        let words: Vec<u32> = (0..4000).map(word).collect();
        let postings = words.windows(SEED).enumerate().flat_map(|(at, gram)| {
            let posting = Posting { key: key(gram), sequence: at as u32 % 7, position: at as u32 };
            [posting, Posting { sequence: 9, ..posting }]
        });
        let seeds = Seeds::new(postings.collect());
        for gram in words.windows(SEED) {
            assert!(seeds.may_hold(key(gram)));
            assert_eq!(seeds.find(key(gram)).1.len(), 2);
        }
        let absent = (0..40_000).map(|at| key(&[word(at), 1, 2, 3])).filter(|key| seeds.may_hold(*key));
        let passed = absent.inspect(|key| assert!(seeds.find(*key).1.is_empty())).count();
        assert!(passed < 3000, "{passed} of 40000 pass the bitmap");
        assert!(Seeds::new(Vec::new()).find(5).1.is_empty());
    }
}
