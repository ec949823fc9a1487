//! Which buckets have a row.

/// Which buckets have a row, and which one: a bit for each bucket, so that the table stays in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    bits: Vec<u64>,
    /// Rows before each word of bits.
    before: Vec<u32>,
}

impl Known {
    pub(super) fn new(buckets: u32, is_known: impl Fn(u32) -> bool) -> Self {
        let mut bits = vec![0_u64; buckets.div_ceil(64) as usize];
        for bucket in (0..buckets).filter(|bucket| is_known(*bucket)) {
            bits[bucket as usize / 64] |= 1 << (bucket % 64);
        }
        Self::from_bits(bits)
    }

    pub(super) fn from_bits(bits: Vec<u64>) -> Self {
        let mut rows = 0;
        let count = |word: &u64| {
            let before = rows;
            rows += word.count_ones();
            before
        };
        Self { before: bits.iter().map(count).collect(), bits }
    }

    pub(super) fn bits(&self) -> &[u64] {
        &self.bits
    }

    /// How many have one.
    pub(super) fn len(&self) -> usize {
        self.bits.iter().map(|word| word.count_ones() as usize).sum()
    }

    #[inline]
    pub(super) fn row(&self, bucket: u32) -> Option<u32> {
        let (at, bit) = (bucket as usize / 64, 1_u64 << (bucket % 64));
        let word = self.bits[at];
        (word & bit != 0).then(|| self.before[at] + (word & (bit - 1)).count_ones())
    }

    /// The buckets with a row, ascending.
    pub(super) fn buckets(&self) -> impl Iterator<Item = u32> {
        let of_word = |(at, word): (usize, &u64)| {
            let mut word = *word;
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros())?;
                word &= word - 1;
                Some(at as u32 * 64 + bit)
            })
        };
        self.bits.iter().enumerate().flat_map(of_word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbered_by_their_buckets() {
        let known = Known::new(200, |bucket| bucket % 3 == 0);
        assert_eq!(known.len(), 67);
        for bucket in 0..200 {
            assert_eq!(known.row(bucket), (bucket % 3 == 0).then_some(bucket / 3), "{bucket}");
        }
        assert!(known.buckets().eq((0..200).filter(|bucket| bucket % 3 == 0)));
        assert_eq!(Known::from_bits(known.bits().to_vec()), known);
    }
}
