//! Gradient descent over blocks of examples, the same for any number of threads.
//!
//! fastText's threads write the same rows without locks (Recht et al. 2011, "Hogwild"), so that two runs differ. Here a block is read, then learned from, then
//! written, and each of the three has one order. Only the rows of the features are up to 31 examples old when they are read; the outputs, on which every
//! example pulls, are never.

use rayon::prelude::*;

use super::rows::{Row, WIDTH, add_scaled, dot, mix, scaled, widest, zeros};
use super::scores::{Scores, sigmoid, softmax};
use super::{ClassifierError, Loss, Settings};

/// Most examples of a block.
const BLOCK_EXAMPLES: usize = 32;
/// A block ends with the example that reaches as many features.
const BLOCK_FEATURES: u64 = 4096;

/// Examples as features.
#[derive(Debug, Default)]
pub(super) struct Examples {
    /// Where the features of each example end.
    ends: Vec<u64>,
    /// Features: buckets first, rows once it is known which there are. Ascending within an example.
    features: Vec<u32>,
    /// How often the example has each.
    repeats: Vec<u16>,
    /// Features of each example, repeats counted.
    totals: Vec<u32>,
    /// The label of each.
    pub(super) labels: Vec<u32>,
}

impl Examples {
    /// Adds an example; its buckets are sorted.
    pub(super) fn push(&mut self, buckets: &mut [u32], label: u32) {
        buckets.sort_unstable();
        for run in buckets.chunk_by(|a, b| a == b) {
            for part in run.chunks(usize::from(u16::MAX)) {
                self.features.push(part[0]);
                self.repeats.push(part.len() as u16);
            }
        }
        self.ends.push(self.features.len() as u64);
        self.totals.push(buckets.len() as u32);
        self.labels.push(label);
    }

    /// Adds others behind these, if there is room.
    pub(super) fn append(&mut self, others: &Self, limit: u64) -> Result<(), ClassifierError> {
        let before = self.features.len() as u64;
        if before + others.features.len() as u64 > limit {
            return Err(ClassifierError::TooMany { limit });
        }
        self.ends.extend(others.ends.iter().map(|end| before + end));
        self.features.extend_from_slice(&others.features);
        self.repeats.extend_from_slice(&others.repeats);
        self.totals.extend_from_slice(&others.totals);
        self.labels.extend_from_slice(&others.labels);
        Ok(())
    }

    /// Features of an example and how often it has each.
    #[inline(always)]
    fn of(&self, example: u32) -> (&[u32], &[u16]) {
        let at = example as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        let range = start..self.ends[at] as usize;
        (&self.features[range.clone()], &self.repeats[range])
    }

    /// Turns buckets into rows, without those that are too rare.
    fn number(&mut self, settings: &Settings) -> Known {
        let mut counts = vec![0_u32; settings.buckets as usize];
        for (bucket, repeats) in self.features.iter().zip(&self.repeats) {
            let count = &mut counts[*bucket as usize];
            *count = count.saturating_add(u32::from(*repeats));
        }
        let known = Known::new(settings.buckets, |bucket| counts[bucket as usize] >= settings.min_count);
        let (mut start, mut kept) = (0, 0);
        for (end, total) in self.ends.iter_mut().zip(&mut self.totals) {
            for at in start..*end as usize {
                match known.row(self.features[at]) {
                    Some(row) => {
                        self.features[kept] = row;
                        self.repeats[kept] = self.repeats[at];
                        kept += 1;
                    }
                    None => *total -= u32::from(self.repeats[at]),
                }
            }
            start = *end as usize;
            *end = kept as u64;
        }
        self.features.truncate(kept);
        self.repeats.truncate(kept);
        known
    }
}

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
}

/// Learns; the model's features and their scores.
pub(super) fn run(
    mut examples: Examples,
    labels: usize,
    settings: &Settings,
    threads: usize,
) -> Result<(Known, Scores), ClassifierError> {
    let known = examples.number(settings);
    let features = known.len();
    let course = Course { examples: &examples, labels, features, settings };
    // Rows are rounded up to one of a few widths, each of which has machine code of its own.
    let (rows, outputs) = match settings.dim.div_ceil(WIDTH) {
        0 | 1 => course.learn::<1>(threads),
        2 => course.learn::<2>(threads),
        3 | 4 => course.learn::<4>(threads),
        5..=7 => course.learn::<7>(threads),
        8 => course.learn::<8>(threads),
        _ => course.learn::<16>(threads),
    }?;
    let scores = Scores::of(rows, outputs, settings.dim);
    scores.check()?;
    Ok((known, scores))
}

/// What a training needs to know.
#[derive(Clone, Copy)]
struct Course<'a> {
    examples: &'a Examples,
    labels: usize,
    features: usize,
    settings: &'a Settings,
}

/// The weights.
struct Weights<const S: usize> {
    /// One for each feature.
    rows: Vec<Row<S>>,
    /// One for each label.
    outputs: Vec<Row<S>>,
    /// Room for the scores of one text.
    logits: Vec<f32>,
    /// The means of a block, then its gradients.
    block: Vec<Row<S>>,
}

impl Course<'_> {
    fn learn<const S: usize>(self, threads: usize) -> Result<(Vec<f32>, Vec<f32>), ClassifierError> {
        let mut weights = Weights {
            rows: self.start::<S>(),
            outputs: vec![zeros::<S>(); self.labels],
            logits: Vec::new(),
            block: vec![zeros::<S>(); BLOCK_EXAMPLES],
        };
        if threads <= 1 {
            self.epochs(|block, lr| widest(|| self.step_alone(&mut weights, block, lr)));
        } else {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            pool.install(|| self.epochs(|block, lr| self.step(&mut weights, block, lr, threads)));
        }
        let dim = self.settings.dim;
        let flat = |rows: &[Row<S>]| -> Vec<f32> {
            rows.iter().flat_map(|row| row.iter().flat_map(|lane| lane.0).take(dim)).collect()
        };
        Ok((flat(&weights.rows), flat(&weights.outputs)))
    }

    /// Rows with values between -1/dim and 1/dim, as fastText starts.
    fn start<const S: usize>(self) -> Vec<Row<S>> {
        let dim = self.settings.dim;
        let scale = 2.0 / (dim as f32 * (1_u64 << 32) as f32);
        let key = mix(self.settings.seed ^ 0x5e_ed0f_2095);
        let row = |at: usize| {
            let mut row = zeros::<S>();
            for (value, place) in row.iter_mut().flat_map(|lane| &mut lane.0).take(dim).zip(0_u64..) {
                let drawn = mix(key.wrapping_add((at as u64) << 8 | place)) >> 32;
                *value = drawn as f32 * scale - 1.0 / dim as f32;
            }
            row
        };
        (0..self.features).map(row).collect()
    }

    /// Calls `step` with every block of the run and its learning rate.
    fn epochs(self, mut step: impl FnMut(&[u32], f32)) {
        let Self { examples, settings, .. } = self;
        let has_features = |example: &u32| examples.totals[*example as usize] > 0;
        let mut order: Vec<u32> = (0..examples.labels.len() as u32).filter(has_features).collect();
        let total: u64 = examples.totals.iter().map(|total| u64::from(*total)).sum();
        let whole = (total * u64::from(settings.epochs)).max(1) as f64;
        let mut seen = 0_u64;
        for epoch in 0..settings.epochs {
            shuffle(&mut order, mix(settings.seed ^ mix(u64::from(epoch) + 1)));
            let mut rest = order.as_slice();
            while !rest.is_empty() {
                let (mut size, mut features) = (0, 0);
                while size < rest.len().min(BLOCK_EXAMPLES) && features < BLOCK_FEATURES {
                    features += examples.of(rest[size]).0.len() as u64;
                    size += 1;
                }
                let (block, behind) = rest.split_at(size);
                step(block, (f64::from(settings.lr) * (1.0 - seen as f64 / whole)) as f32);
                seen +=
                    block.iter().map(|example| u64::from(examples.totals[*example as usize])).sum::<u64>();
                rest = behind;
            }
        }
    }

    #[inline(always)]
    fn step_alone<const S: usize>(self, weights: &mut Weights<S>, block: &[u32], lr: f32) {
        for (mean, example) in weights.block.iter_mut().zip(block) {
            *mean = self.mean(&weights.rows, *example);
        }
        self.learn_outputs(weights, block, lr);
        for (gradient, example) in weights.block.iter().zip(block) {
            let (features, repeats) = self.examples.of(*example);
            for (feature, repeats) in features.iter().zip(repeats) {
                add_scaled(&mut weights.rows[*feature as usize], f32::from(*repeats), gradient);
            }
        }
    }

    /// As [`Self::step_alone`], with the texts shared out for the means and the rows for the gradients.
    fn step<const S: usize>(self, weights: &mut Weights<S>, block: &[u32], lr: f32, threads: usize) {
        let texts = block.len().div_ceil(threads);
        let rows = &weights.rows;
        weights.block[..block.len()].par_chunks_mut(texts).zip(block.par_chunks(texts)).for_each(
            |(means, examples)| {
                widest(|| {
                    for (mean, example) in means.iter_mut().zip(examples) {
                        *mean = self.mean(rows, *example);
                    }
                });
            },
        );
        widest(|| self.learn_outputs(weights, block, lr));
        let share = weights.rows.len().div_ceil(threads).max(1);
        let gradients = &weights.block;
        weights.rows.par_chunks_mut(share).enumerate().for_each(|(at, rows)| {
            let first = (at * share) as u32;
            widest(|| self.write_rows(rows, first, block, gradients));
        });
    }

    /// Adds the gradients of a block to those of its rows that are among `rows`, whose first has number `first`.
    #[inline(always)]
    fn write_rows<const S: usize>(
        self,
        rows: &mut [Row<S>],
        first: u32,
        block: &[u32],
        gradients: &[Row<S>],
    ) {
        for (gradient, example) in gradients.iter().zip(block) {
            let (features, repeats) = self.examples.of(*example);
            let start = features.partition_point(|feature| *feature < first);
            for (feature, repeats) in features[start..].iter().zip(&repeats[start..]) {
                let Some(row) = rows.get_mut((feature - first) as usize) else { break };
                add_scaled(row, f32::from(*repeats), gradient);
            }
        }
    }

    /// The mean of a text's rows.
    #[inline(always)]
    fn mean<const S: usize>(self, rows: &[Row<S>], example: u32) -> Row<S> {
        let (features, repeats) = self.examples.of(example);
        let mut sum = zeros::<S>();
        for (feature, repeats) in features.iter().zip(repeats) {
            add_scaled(&mut sum, f32::from(*repeats), &rows[*feature as usize]);
        }
        scaled(sum, 1.0 / self.examples.totals[example as usize] as f32)
    }

    /// Teaches the outputs one text after the other, and leaves the gradient of each text's rows in its mean's place.
    #[inline(always)]
    fn learn_outputs<const S: usize>(self, weights: &mut Weights<S>, block: &[u32], lr: f32) {
        let Weights { outputs, logits, block: means, .. } = weights;
        for (mean, example) in means.iter_mut().zip(block) {
            let at = *example as usize;
            let label = self.examples.labels[at] as usize;
            logits.clear();
            logits.extend(outputs.iter().map(|output| dot(mean, output)));
            match self.settings.loss {
                Loss::Softmax => softmax(logits),
                Loss::OneVsAll => logits.iter_mut().for_each(|logit| *logit = sigmoid(*logit)),
            }
            let mut gradient = zeros::<S>();
            for (other, (output, probability)) in outputs.iter_mut().zip(logits.iter()).enumerate() {
                let pull = lr * (f32::from(u8::from(other == label)) - probability);
                add_scaled(&mut gradient, pull, output);
                add_scaled(output, pull, mean);
            }
            *mean = scaled(gradient, 1.0 / self.examples.totals[at] as f32);
        }
    }
}

/// Puts the numbers in an order that the key gives (Fisher and Yates).
fn shuffle(order: &mut [u32], key: u64) {
    for at in (1..order.len()).rev() {
        let drawn = mix(key.wrapping_add((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let other = (u128::from(drawn) * (at as u128 + 1)) >> 64;
        order.swap(at, other as usize);
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
        assert_eq!(Known::from_bits(known.bits().to_vec()), known);
    }

    #[test]
    fn rare_buckets_are_left_out_and_repeats_are_kept() {
        let mut examples = Examples::default();
        examples.push(&mut [7, 3, 7, 9], 0);
        examples.push(&mut vec![3; 70_000], 1);
        examples.push(&mut [], 1);
        let known = examples.number(&Settings { buckets: 10, min_count: 2, ..Settings::default() });
        assert_eq!(known.len(), 2);
        assert_eq!(examples.of(0), (&[0, 1][..], &[1, 2][..]));
        assert_eq!(examples.of(1), (&[0, 0][..], &[65_535, 4465][..]));
        assert_eq!(examples.totals, [3, 70_000, 0]);
        assert!(examples.of(2).0.is_empty());
    }
}
