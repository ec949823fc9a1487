//! A seeded permutation of `0 … n-1` with O(1) seek: four Feistel rounds over the next even power of two, walking the cycle back into range.
//!
//! Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains". Each epoch has a permutation of its own.

/// A permutation of `0 … n-1`.
#[derive(Debug, Clone, Copy)]
pub struct Permutation {
    size: u64,
    half_bits: u32,
    keys: [u64; 4],
}

impl Permutation {
    /// The permutation of `size` numbers that a seed names.
    pub fn new(size: u64, seed: u64) -> Self {
        let bits = u64::BITS - size.saturating_sub(1).leading_zeros();
        let mut key = seed;
        let keys = std::array::from_fn(|_| {
            key = mix(key.wrapping_add(0x9e37_79b9_7f4a_7c15));
            key
        });
        Self { size, half_bits: bits.div_ceil(2).max(1), keys }
    }

    /// Where number `index` goes.
    pub fn at(&self, index: u64) -> u64 {
        debug_assert!(index < self.size);
        let mut value = index;
        loop {
            value = self.round_trip(value);
            if value < self.size {
                return value;
            }
        }
    }

    fn round_trip(&self, value: u64) -> u64 {
        #[cfg(test)]
        ROUNDS.with(|rounds| rounds.set(rounds.get() + 4));
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        (left << self.half_bits) | right
    }
}

#[cfg(test)]
thread_local! {
    static ROUNDS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Feistel rounds that this thread has done.
#[cfg(test)]
pub(super) fn rounds() -> u64 {
    ROUNDS.with(std::cell::Cell::get)
}

/// A 64-bit finaliser (Stafford's mix 13).
pub(super) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_comes_once(size in 1u64..3000, seed in any::<u64>()) {
            let permutation = Permutation::new(size, seed);
            let mut seen = vec![false; size as usize];
            for index in 0..size {
                let place = permutation.at(index) as usize;
                prop_assert!(!seen[place]);
                seen[place] = true;
            }
        }
    }

    #[test]
    fn neighbours_are_scattered() {
        let permutation = Permutation::new(10_000, 3);
        let stays = (0..9_999).filter(|&i| permutation.at(i).abs_diff(permutation.at(i + 1)) < 50).count();
        assert!(stays < 200, "{stays} of 9,999 neighbours stay near");
    }
}
