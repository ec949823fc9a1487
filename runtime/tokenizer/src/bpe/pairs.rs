//! Which pairs merge, and into what.

/// No merge: later than any.
pub(super) const NONE: u64 = u64::MAX;
/// A slot without a pair.
const EMPTY: u64 = u64::MAX;
/// Bits of the filter for each slot, as a power of two.
const FILTER_BITS: u32 = 3;
/// Slots that a lookup may visit before the table is made anew.
const MAX_PROBES: usize = 32;

/// The merges by pair: rank in the upper half of a value, new id in the lower, so that the lesser value is the merge that comes first.
#[derive(Debug)]
pub(super) struct Pairs {
    /// Values by left and right byte: what a piece begins with.
    of_bytes: Box<[u64]>,
    /// Open addressing with linear probing: key and value side by side.
    slots: Vec<(u64, u64)>,
    /// A bit for each possible start of a key's hash, set where a key has it. Most pairs do not merge, and this small table, which stays near the
    /// processor, says so of nearly all of them.
    filter: Vec<u64>,
    factor: u64,
    shift: u32,
}

fn key(left: u32, right: u32) -> u64 {
    (u64::from(left) << 32) | u64::from(right)
}

impl Pairs {
    /// Of a pair that stands twice the first merge counts.
    pub(super) fn new(byte_ids: &[u32; 256], merges: &[(u32, u32, u32)]) -> Self {
        let mut bits = (merges.len() * 2 + 2).next_power_of_two().trailing_zeros();
        let mut factor = 0x9e37_79b9_7f4a_7c15_u64;
        let mut pairs = loop {
            let mut pairs = Self {
                of_bytes: Box::default(),
                slots: Vec::new(),
                filter: Vec::new(),
                factor,
                shift: 64 - bits,
            };
            // A list made to collide would make lookups slow: another factor scatters it. The table stops growing all the same.
            if pairs.fill(merges, bits) <= MAX_PROBES || bits > 28 {
                break pairs;
            }
            factor = factor.wrapping_mul(0xd134_2543_de82_ef95) | 1;
            bits += 1;
        };
        let byte_pairs =
            (0..1 << 16).map(|pair: usize| pairs.get(byte_ids[pair >> 8], byte_ids[pair & 0xff]));
        pairs.of_bytes = byte_pairs.collect();
        pairs
    }

    /// Fills an empty table; the longest way to a pair.
    fn fill(&mut self, merges: &[(u32, u32, u32)], bits: u32) -> usize {
        self.slots = vec![(EMPTY, NONE); 1 << bits];
        self.filter = vec![0; (1 << (bits + FILTER_BITS)) / 64 + 1];
        let mut longest = 0;
        for (rank, (left, right, new)) in merges.iter().enumerate() {
            let key = key(*left, *right);
            let mixed = self.mixed(key);
            let (word, bit) = self.filter_place(mixed);
            self.filter[word] |= bit;
            let mut at = (mixed >> self.shift) as usize;
            let mut probes = 1;
            while self.slots[at].0 != EMPTY && self.slots[at].0 != key {
                at = (at + 1) & (self.slots.len() - 1);
                probes += 1;
            }
            if self.slots[at].0 == EMPTY {
                self.slots[at] = (key, ((rank as u64) << 32) | u64::from(*new));
            }
            longest = longest.max(probes);
        }
        longest
    }

    #[inline(always)]
    fn mixed(&self, key: u64) -> u64 {
        (key ^ (key >> 29)).wrapping_mul(self.factor)
    }

    #[inline(always)]
    fn filter_place(&self, mixed: u64) -> (usize, u64) {
        let bit = mixed >> (self.shift - FILTER_BITS);
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    /// Rank and new id of a pair, or [`NONE`].
    #[inline(always)]
    pub(super) fn get(&self, left: u32, right: u32) -> u64 {
        let key = key(left, right);
        let mixed = self.mixed(key);
        let (word, bit) = self.filter_place(mixed);
        if self.filter.get(word).is_none_or(|word| word & bit == 0) {
            return NONE;
        }
        let mut at = (mixed >> self.shift) as usize;
        while let Some((found, value)) = self.slots.get(at) {
            if *found == key {
                return *value;
            }
            if *found == EMPTY {
                return NONE;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        NONE
    }

    /// Rank and new id of a pair of bytes, or [`NONE`].
    #[inline(always)]
    pub(super) fn of_bytes(&self, left: u8, right: u8) -> u64 {
        self.of_bytes.get((usize::from(left) << 8) | usize::from(right)).copied().unwrap_or(NONE)
    }
}
