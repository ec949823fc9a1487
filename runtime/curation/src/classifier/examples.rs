//! Examples as features, on their way from hashes to rows.
//!
//! Most features of a text are in no other text: half of its word pairs, say. They learn in step, as each gets the gradients of that one example alone, so that their weighted sum says all about them while
//! training goes on: it starts at `Σ r·start` and grows by `Σ r²` times the gradient. One row for each example stands for them, and they come out of it at the end as if each had had its own.
#![allow(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the wide registers of `widest`"
)]

use super::known::Known;
use super::{ClassifierError, Settings};

/// Features by example: where those of each end, which they are and how often each is there.
#[derive(Debug, Default)]
pub(super) struct Lists {
    ends: Vec<u64>,
    features: Vec<u32>,
    repeats: Vec<u16>,
}

impl Lists {
    /// Features of an example and how often it has each.
    #[inline(always)]
    pub(super) fn of(&self, example: u32) -> (&[u32], &[u16]) {
        let at = example as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        let range = start..self.ends[at] as usize;
        (&self.features[range.clone()], &self.repeats[range])
    }

    fn push(&mut self, feature: u32, repeats: u16) {
        self.features.push(feature);
        self.repeats.push(repeats);
    }
}

/// Examples as they come in.
#[derive(Debug, Default)]
pub(super) struct Examples {
    /// Buckets, ascending within an example.
    lists: Lists,
    /// The label of each.
    pub(super) labels: Vec<u32>,
}

impl Examples {
    /// Adds an example; its buckets are sorted.
    pub(super) fn push(&mut self, buckets: &mut [u32], label: u32) {
        buckets.sort_unstable();
        for run in buckets.chunk_by(|a, b| a == b) {
            for part in run.chunks(usize::from(u16::MAX)) {
                self.lists.push(part[0], part.len() as u16);
            }
        }
        self.lists.ends.push(self.lists.features.len() as u64);
        self.labels.push(label);
    }

    /// Adds others behind these, if there is room.
    pub(super) fn append(&mut self, others: &Self, limit: u64) -> Result<(), ClassifierError> {
        let before = self.lists.features.len() as u64;
        if before + others.lists.features.len() as u64 > limit {
            return Err(ClassifierError::TooMany { limit });
        }
        self.lists.ends.extend(others.lists.ends.iter().map(|end| before + end));
        self.lists.features.extend_from_slice(&others.lists.features);
        self.lists.repeats.extend_from_slice(&others.lists.repeats);
        self.labels.extend_from_slice(&others.labels);
        Ok(())
    }

    /// Turns buckets into rows, without those that are too rare.
    pub(super) fn number(mut self, settings: &Settings) -> Numbered {
        let kept = self.kept(settings);
        let is_kept = |bucket: u32| kept.as_ref().is_none_or(|kept| kept.row(bucket).is_some());
        let words = settings.buckets.div_ceil(64) as usize;
        let (mut once, mut twice) = (vec![0_u64; words], vec![0_u64; words]);
        for bucket in self.lists.features.iter().filter(|bucket| is_kept(**bucket)) {
            let (at, bit) = (*bucket as usize / 64, 1_u64 << (bucket % 64));
            twice[at] |= once[at] & bit;
            once[at] |= bit;
        }
        let (all, shared) = (Known::from_bits(once), Known::from_bits(twice));
        let mut singles = Lists::default();
        let (mut totals, mut own) = (Vec::with_capacity(self.labels.len()), Vec::new());
        let (mut start, mut end, mut num_own) = (0, 0, 0);
        let Lists { ends, features, repeats } = &mut self.lists;
        for place in ends.iter_mut() {
            let (mut total, singles_before) = (0, singles.features.len());
            for at in start..*place as usize {
                let (bucket, count) = (features[at], repeats[at]);
                if let Some(row) = shared.row(bucket) {
                    (features[end], repeats[end]) = (row, count);
                    end += 1;
                } else if all.row(bucket).is_some() {
                    singles.push(bucket, count);
                } else {
                    continue;
                }
                total += u32::from(count);
            }
            start = *place as usize;
            *place = end as u64;
            singles.ends.push(singles.features.len() as u64);
            totals.push(total);
            let has_own = singles.features.len() > singles_before;
            own.push(if has_own { num_own } else { NO_ROW });
            num_own += u32::from(has_own);
        }
        features.truncate(end);
        repeats.truncate(end);
        Numbered {
            shared: self.lists,
            singles,
            own,
            num_own,
            totals,
            labels: self.labels,
            all,
            num_shared: shared.len(),
            is_shared: shared,
        }
    }

    /// The buckets that are frequent enough, where not all are.
    fn kept(&self, settings: &Settings) -> Option<Known> {
        if settings.min_count <= 1 {
            return None;
        }
        let mut counts = vec![0_u32; settings.buckets as usize];
        for (bucket, repeats) in self.lists.features.iter().zip(&self.lists.repeats) {
            let count = &mut counts[*bucket as usize];
            *count = count.saturating_add(u32::from(*repeats));
        }
        Some(Known::new(settings.buckets, |bucket| counts[bucket as usize] >= settings.min_count))
    }
}

/// In the place of a row's number.
pub(super) const NO_ROW: u32 = u32::MAX;

/// Examples that can be learned from.
#[derive(Debug)]
pub(super) struct Numbered {
    /// Rows of the features that several examples have, ascending within an example.
    pub(super) shared: Lists,
    /// Buckets of those that it has alone.
    pub(super) singles: Lists,
    /// The row that stands for these, among such rows; [`NO_ROW`] where there are none.
    pub(super) own: Vec<u32>,
    pub(super) num_own: u32,
    /// Features of each example, repeats counted.
    pub(super) totals: Vec<u32>,
    /// The label of each.
    pub(super) labels: Vec<u32>,
    /// Every bucket that the model has.
    pub(super) all: Known,
    /// Those that several examples have.
    pub(super) is_shared: Known,
    pub(super) num_shared: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(of: &[&[u32]]) -> Examples {
        let mut examples = Examples::default();
        for buckets in of {
            examples.push(&mut buckets.to_vec(), 0);
        }
        examples
    }

    #[test]
    fn what_one_example_has_alone_is_told_from_what_several_have() {
        let found = examples(&[&[7, 3, 7, 9], &[3, 9, 9], &[], &[1]])
            .number(&Settings { buckets: 10, ..Settings::default() });
        assert_eq!((found.all.len(), found.num_shared, found.num_own), (4, 2, 2));
        assert_eq!(found.shared.of(0), (&[0, 1][..], &[1, 1][..]));
        assert_eq!(found.singles.of(0), (&[7][..], &[2][..]));
        assert_eq!(found.shared.of(1), (&[0, 1][..], &[1, 2][..]));
        assert!(found.singles.of(1).0.is_empty() && found.shared.of(2).0.is_empty());
        assert_eq!(found.own, [0, NO_ROW, NO_ROW, 1]);
        assert_eq!(found.totals, [4, 3, 0, 1]);
    }

    #[test]
    fn rare_buckets_are_left_out_and_repeats_are_kept() {
        let many = vec![3; 70_000];
        let settings = Settings { buckets: 10, min_count: 2, ..Settings::default() };
        let found = examples(&[&[7, 3, 7, 9], &many]).number(&settings);
        assert_eq!((found.all.len(), found.num_shared), (2, 1));
        assert_eq!(found.shared.of(1), (&[0, 0][..], &[65_535, 4465][..]));
        assert_eq!(found.totals, [3, 70_000]);
    }
}
