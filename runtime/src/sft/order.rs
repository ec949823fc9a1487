//! The order in which a stage sees its data: a fresh seeded permutation for each pass, with a seek that costs one permutation.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// A stream of item indices: pass after pass over `num_items`, each in its own order.
#[derive(Debug, Clone)]
pub struct PassOrder {
    seed: u64,
    num_items: usize,
    pass: u64,
    permutation: Vec<usize>,
}

impl PassOrder {
    /// An order over `num_items`, which must not be 0.
    pub fn new(seed: u64, num_items: usize) -> Self {
        Self { seed, num_items, pass: 0, permutation: permutation(seed, 0, num_items) }
    }

    /// The item at a position of the endless stream.
    pub fn item(&mut self, position: u64) -> usize {
        let pass = position / self.num_items as u64;
        if pass != self.pass {
            self.permutation = permutation(self.seed, pass, self.num_items);
            self.pass = pass;
        }
        self.permutation[(position % self.num_items as u64) as usize]
    }

    /// The items at the positions of a range.
    pub fn items(&mut self, range: std::ops::Range<u64>) -> Vec<usize> {
        range.map(|position| self.item(position)).collect()
    }
}

/// A permutation of `0..num_items` that depends on the seed and the pass alone.
pub fn permutation(seed: u64, pass: u64, num_items: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(pass);
    let mut items: Vec<usize> = (0..num_items).collect();
    items.shuffle(&mut rng);
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pass_holds_every_item_and_a_seek_finds_the_same() {
        let mut forward = PassOrder::new(7, 5);
        let all = forward.items(0..15);
        for pass in all.chunks(5) {
            let mut sorted = pass.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
        }
        assert_ne!(all[..5], all[5..10]);
        assert_eq!(PassOrder::new(7, 5).items(11..15), all[11..]);
    }
}
