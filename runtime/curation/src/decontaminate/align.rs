//! Grows a seed to both sides, over words that differ.

use super::seeds::SEED;

/// Most words of a sequence: the bits of a cover.
pub(super) const SEQUENCE_WORDS: usize = 384;
const BLOCKS: usize = SEQUENCE_WORDS / 64;
/// Farthest jump over words that differ, on each side.
const JUMP: usize = 8;
/// What a skipped word costs, nats.
const SKIP: f32 = 2.5;
/// How far below its best a side may fall, nats.
const DROP: f32 = 20.0;

/// Words of a sequence that matched, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cover([u64; BLOCKS]);

impl Cover {
    pub(super) fn set(&mut self, position: usize) {
        self.0[position / 64] |= 1 << (position % 64);
    }

    pub(super) fn has(&self, position: usize) -> bool {
        self.0[position / 64] & (1 << (position % 64)) != 0
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|block| self.0[block] | other.0[block]))
    }

    pub(super) fn count(&self) -> u32 {
        self.0.iter().map(|block| block.count_ones()).sum()
    }

    pub(super) fn shared(&self, other: &Self) -> u32 {
        self.0.iter().zip(&other.0).map(|(a, b)| (a & b).count_ones()).sum()
    }

    /// The sum of the weights of what matched.
    pub(super) fn weight(&self, weights: &[f32]) -> f32 {
        weights.iter().enumerate().filter(|(at, _)| self.has(*at)).map(|(_, weight)| weight).sum()
    }

    /// First and last position that matched.
    pub(super) fn span(&self) -> Option<(usize, usize)> {
        let first = (0..SEQUENCE_WORDS).find(|at| self.has(*at))?;
        let last = (0..SEQUENCE_WORDS).rev().find(|at| self.has(*at))?;
        Some((first, last))
    }
}

/// A stretch of text that matches a stretch of a sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stretch {
    /// Words of the text, `from..to`.
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) cover: Cover,
}

/// A sequence and a text that share the seed at `position` and `at`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) sequence: &'a [u32],
    pub(super) weights: &'a [f32],
    pub(super) text: &'a [u32],
}

impl Pair<'_> {
    /// Grows the seed. `None` where the four words are not the same (their hash was).
    pub(super) fn grow(&self, position: usize, at: usize) -> Option<Stretch> {
        if self.sequence.get(position..position + SEED)? != self.text.get(at..at + SEED)? {
            return None;
        }
        let mut stretch = Stretch { from: at, to: at + SEED, cover: Cover::default() };
        (position..position + SEED).for_each(|place| stretch.cover.set(place));
        let right = Side { pair: *self, i: position + SEED, j: at + SEED, step: 1 };
        stretch.to = at + SEED + right.walk(&mut stretch.cover);
        let left = Side { pair: *self, i: position.wrapping_sub(1), j: at.wrapping_sub(1), step: usize::MAX };
        stretch.from = at - left.walk(&mut stretch.cover);
        Some(stretch)
    }
}

/// One side of a seed: the next words, and the step, which is one or minus one (as the wrapping `usize::MAX`).
struct Side<'a> {
    pair: Pair<'a>,
    i: usize,
    j: usize,
    step: usize,
}

impl Side<'_> {
    fn same(&self, i: usize, j: usize) -> bool {
        let (i, j) = (self.nth(self.i, i), self.nth(self.j, j));
        matches!((self.pair.sequence.get(i), self.pair.text.get(j)), (Some(a), Some(b)) if a == b)
    }

    fn nth(&self, from: usize, count: usize) -> usize {
        from.wrapping_add(self.step.wrapping_mul(count))
    }

    /// Marks what matches and returns how many words of the text belong to it.
    fn walk(&self, cover: &mut Cover) -> usize {
        let (mut i, mut j) = (0, 0);
        let (mut score, mut best, mut best_j) = (0.0f32, 0.0f32, 0);
        let mut kept = *cover;
        loop {
            while self.same(i, j) {
                let place = self.nth(self.i, i);
                cover.set(place);
                score += self.pair.weights[place];
                (i, j) = (i + 1, j + 1);
            }
            if score > best {
                (best, best_j, kept) = (score, j, *cover);
            }
            let Some((skip_i, skip_j)) = self.jump(i, j) else { break };
            score -= SKIP * (skip_i + skip_j) as f32;
            if score < best - DROP {
                break;
            }
            (i, j) = (i + skip_i, j + skip_j);
        }
        *cover = kept;
        best_j
    }

    /// The nearest place where two words in a row match again; one is enough at the sequence's end.
    fn jump(&self, i: usize, j: usize) -> Option<(usize, usize)> {
        if self.pair.sequence.get(self.nth(self.i, i)).is_none()
            || self.pair.text.get(self.nth(self.j, j)).is_none()
        {
            return None;
        }
        for total in 1..=2 * JUMP {
            let middle = total / 2;
            for off in 0..=middle {
                // Equal skips first: a word that was replaced is the commonest edit.
                for skip_i in [middle.checked_sub(off), Some(middle + off + total % 2)].into_iter().flatten()
                {
                    let Some(skip_j) = total.checked_sub(skip_i) else { continue };
                    if skip_i > JUMP || skip_j > JUMP || !self.same(i + skip_i, j + skip_j) {
                        continue;
                    }
                    let at_end = self.pair.sequence.get(self.nth(self.i, i + skip_i + 1)).is_none();
                    if at_end || self.same(i + skip_i + 1, j + skip_j + 1) {
                        return Some((skip_i, skip_j));
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grow(sequence: &[u32], text: &[u32]) -> (usize, usize, u32) {
        let weights = vec![6.0; sequence.len()];
        let pair = Pair { sequence, weights: &weights, text };
        let seed = |(position, at): &(usize, usize)| {
            sequence[*position..].starts_with(text.get(*at..*at + SEED).unwrap_or(&[0]))
        };
        let places = (0..sequence.len()).flat_map(|position| (0..text.len()).map(move |at| (position, at)));
        let (position, at) = places.into_iter().find(seed).unwrap();
        let stretch = pair.grow(position, at).unwrap();
        (stretch.from, stretch.to, stretch.cover.count())
    }

    #[test]
    fn edits_are_jumped_over() {
        let sequence: Vec<u32> = (100..130).collect();
        let around = |middle: &[u32]| [&[1, 2, 3], middle, &[4, 5, 6]].concat();
        assert_eq!(grow(&sequence, &around(&sequence)), (3, 33, 30));
        let mut replaced = sequence.clone();
        (replaced[5], replaced[15]) = (7, 8);
        assert_eq!(grow(&sequence, &around(&replaced)), (3, 33, 28));
        let mut deleted = sequence.clone();
        deleted.remove(12);
        assert_eq!(grow(&sequence, &around(&deleted)), (3, 32, 29));
        let mut inserted = sequence.clone();
        inserted.insert(20, 9);
        assert_eq!(grow(&sequence, &around(&inserted)), (3, 34, 30));
        let mut swapped = sequence.clone();
        swapped.swap(8, 9);
        let (from, to, count) = grow(&sequence, &around(&swapped));
        assert!((from, to) == (3, 33) && count >= 28);
        assert_eq!(grow(&sequence, &around(&sequence[..15])), (3, 18, 15));
    }
}
