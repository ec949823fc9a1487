//! Gradient descent over blocks of examples, the same for any number of threads.
//!
//! fastText's threads write the same rows without locks (Recht et al. 2011, "Hogwild"), so that two runs differ. Here a block is read, then learned from, then
//! written, and each of the three has one order. Only the rows of the features are up to 31 examples old when they are read; the outputs, on which every
//! example pulls, are never.
#![allow(clippy::needless_range_loop, reason = "see `rows::add_scaled`")]
#![allow(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the wide registers of `widest`"
)]

use rayon::prelude::*;

use super::examples::{NO_ROW, Numbered};
use super::known::Known;
use super::rows::{Row, WIDTH, add_scaled, dot, mix, scaled, widest, zeros};
use super::scores::{Scores, sigmoid, softmax};
use super::{ClassifierError, Loss, Settings};

/// Most examples of a block.
const BLOCK_EXAMPLES: usize = 32;
/// A block ends with the example that reaches so many lanes of rows, so that they are in the cache when they are written.
const BLOCK_LANES: usize = 8192;

/// Learns; the model's features and their scores.
pub(super) fn run(
    examples: Numbered,
    labels: usize,
    settings: &Settings,
    threads: usize,
) -> Result<(Known, Scores), ClassifierError> {
    let course = Course { examples: &examples, labels, settings, key: mix(settings.seed ^ 0x5e_ed0f_2095) };
    // Rows are rounded up to one of a few widths, each of which has machine code of its own.
    let scores = match settings.dim.div_ceil(WIDTH) {
        0 | 1 => course.learn::<1>(threads),
        2 => course.learn::<2>(threads),
        3 | 4 => course.learn::<4>(threads),
        5..=7 => course.learn::<7>(threads),
        8 => course.learn::<8>(threads),
        _ => course.learn::<16>(threads),
    }?;
    scores.check()?;
    Ok((examples.all, scores))
}

/// What a training needs to know.
#[derive(Clone, Copy)]
struct Course<'a> {
    examples: &'a Numbered,
    labels: usize,
    settings: &'a Settings,
    /// Of the rows' start.
    key: u64,
}

/// The weights.
struct Weights<const S: usize> {
    /// One for each feature that several examples have.
    rows: Vec<Row<S>>,
    /// One for all that an example has alone: their weighted sum, and by how much of a gradient it grows.
    own: Vec<(Row<S>, f32)>,
    /// One for each label.
    outputs: Vec<Row<S>>,
    /// Room for the scores of one text.
    logits: Vec<f32>,
    /// The means of a block, then its gradients.
    block: Vec<Row<S>>,
}

impl Course<'_> {
    fn learn<const S: usize>(self, threads: usize) -> Result<Scores, ClassifierError> {
        let mut weights = Weights {
            rows: Vec::with_capacity(self.examples.num_shared),
            own: Vec::with_capacity(self.examples.num_own as usize),
            outputs: vec![zeros::<S>(); self.labels],
            logits: Vec::with_capacity(self.labels),
            block: vec![zeros::<S>(); BLOCK_EXAMPLES],
        };
        widest(Start { course: self, weights: &mut weights });
        if threads <= 1 {
            self.epochs::<S>(|block, lr| {
                widest(StepAlone { course: self, weights: &mut weights, block, lr });
            });
        } else {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            pool.install(|| self.epochs::<S>(|block, lr| self.step(&mut weights, block, lr, threads)));
        }
        Ok(widest(Finish { course: self, weights: &weights }))
    }

    /// A row with values between -1/dim and 1/dim, as fastText starts: of sixteen bits each.
    #[inline(always)]
    fn start<const S: usize>(self, bucket: u32) -> Row<S> {
        let dim = self.settings.dim;
        let scale = 2.0 / (dim as f32 * 65_536.0);
        let mut row = zeros::<S>();
        // The lowest byte counts fours; were it not empty, two of them could be drawn alike, and columns that start alike stay alike.
        let key = (self.key & !0xff).wrapping_add(u64::from(bucket) << 8);
        for four in 0..dim.div_ceil(4) {
            let drawn = mix(key | four as u64);
            for part in 0..4 {
                let at = four * 4 + part;
                if at < dim {
                    let value = f32::from((drawn >> (16 * part)) as u16) + 0.5;
                    row[at / WIDTH].0[at % WIDTH] = value * scale - 1.0 / dim as f32;
                }
            }
        }
        row
    }

    /// What an example's own features sum up to at the start, and by how much of a gradient that grows.
    #[inline(always)]
    fn start_own<const S: usize>(self, example: u32) -> (Row<S>, f32) {
        let (buckets, repeats) = self.examples.singles.of(example);
        let (mut sum, mut growth) = (zeros::<S>(), 0.0);
        for (bucket, repeats) in buckets.iter().zip(repeats) {
            let repeats = f32::from(*repeats);
            add_scaled(&mut sum, repeats, &self.start(*bucket));
            growth += repeats * repeats;
        }
        (sum, growth)
    }

    /// Calls `step` with every block of the run and its learning rate.
    fn epochs<const S: usize>(self, mut step: impl FnMut(&[u32], f32)) {
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
                let (mut size, mut lanes) = (0, 0);
                while size < rest.len().min(BLOCK_EXAMPLES) && lanes < BLOCK_LANES {
                    lanes += examples.shared.of(rest[size]).0.len() * S;
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

    /// As [`StepAlone`], with the texts shared out for the means and the rows for the gradients.
    fn step<const S: usize>(self, weights: &mut Weights<S>, block: &[u32], lr: f32, threads: usize) {
        let texts = block.len().div_ceil(threads);
        let Weights { rows, own, block: means, .. } = weights;
        means[..block.len()].par_chunks_mut(texts).zip(block.par_chunks(texts)).for_each(
            |(means, examples)| {
                widest(Means { course: self, rows, own, examples, out: means });
            },
        );
        widest(Learn { course: self, weights, block, lr });
        let share = weights.rows.len().div_ceil(threads).max(1);
        let gradients = &weights.block;
        weights.rows.par_chunks_mut(share).enumerate().for_each(|(at, rows)| {
            let first = (at * share) as u32;
            widest(Write { course: self, rows, first, block, gradients });
        });
    }
}

/// Work of one thread, compiled for each width of registers. See [`widest`].
macro_rules! work {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* } -> $out:ty, |$self:ident| $body:expr) => {
        $(#[$doc])*
        struct $name<'a, const S: usize> {
            course: Course<'a>,
            $($field: $type),*
        }

        impl<const S: usize> pulp::NullaryFnOnce for $name<'_, S> {
            type Output = $out;

            #[inline(always)]
            fn call($self) -> $out {
                $body
            }
        }
    };
}

work! {
    /// Gives every row its start.
    Start { weights: &'a mut Weights<S> } -> (), |self| {
        for example in 0..self.course.examples.labels.len() as u32 {
            if self.course.examples.own[example as usize] != NO_ROW {
                self.weights.own.push(self.course.start_own(example));
            }
        }
        // A row's start is that of its bucket, so that a feature starts alike whatever else there is.
        for bucket in self.course.examples.is_shared.buckets() {
            self.weights.rows.push(self.course.start(bucket));
        }
    }
}

work! {
    /// Learns from a block.
    StepAlone { weights: &'a mut Weights<S>, block: &'a [u32], lr: f32 } -> (), |self| {
        let Self { course, weights, block, lr } = self;
        for (mean, example) in weights.block.iter_mut().zip(block) {
            *mean = course.mean(&weights.rows, &weights.own, *example);
        }
        course.learn_outputs(weights, block, lr);
        for (gradient, example) in weights.block.iter().zip(block) {
            let (features, repeats) = course.examples.shared.of(*example);
            for at in 0..features.len() {
                add_scaled(&mut weights.rows[features[at] as usize], f32::from(repeats[at]), gradient);
            }
        }
    }
}

work! {
    /// The means of some texts' rows.
    Means { rows: &'a [Row<S>], own: &'a [(Row<S>, f32)], examples: &'a [u32], out: &'a mut [Row<S>] } -> (), |self| {
        for (mean, example) in self.out.iter_mut().zip(self.examples) {
            *mean = self.course.mean(self.rows, self.own, *example);
        }
    }
}

work! {
    /// Teaches the outputs a block.
    Learn { weights: &'a mut Weights<S>, block: &'a [u32], lr: f32 } -> (), |self| {
        self.course.learn_outputs(self.weights, self.block, self.lr);
    }
}

work! {
    /// Adds the gradients of a block to those of its rows that are among some, the first of which has a number.
    Write { rows: &'a mut [Row<S>], first: u32, block: &'a [u32], gradients: &'a [Row<S>] } -> (), |self| {
        for (gradient, example) in self.gradients.iter().zip(self.block) {
            let (features, repeats) = self.course.examples.shared.of(*example);
            let start = features.partition_point(|feature| *feature < self.first);
            for at in start..features.len() {
                let Some(row) = self.rows.get_mut((features[at] - self.first) as usize) else { break };
                add_scaled(row, f32::from(repeats[at]), gradient);
            }
        }
    }
}

work! {
    /// Turns the weights into scores, every feature with a row of its own again.
    Finish { weights: &'a Weights<S> } -> Scores, |self| {
        let Self { course, weights } = self;
        let Course { examples, settings, labels, .. } = course;
        let dim = settings.dim;
        let mut out = vec![0.0_f32; examples.all.len() * labels.min(dim)];
        for (bucket, row) in examples.is_shared.buckets().zip(&weights.rows) {
            course.put(&weights.outputs, (bucket, row), &mut out);
        }
        for (example, own) in examples.own.iter().enumerate().filter(|(_, own)| **own != NO_ROW) {
            let (end, growth) = weights.own[*own as usize];
            let (mut way, _) = course.start_own::<S>(example as u32);
            way = scaled(way, -1.0);
            add_scaled(&mut way, 1.0, &end);
            let (buckets, repeats) = examples.singles.of(example as u32);
            for (bucket, repeats) in buckets.iter().zip(repeats) {
                let mut row = course.start::<S>(*bucket);
                add_scaled(&mut row, f32::from(*repeats) / growth, &way);
                course.put(&weights.outputs, (*bucket, &row), &mut out);
            }
        }
        if labels <= dim {
            return Scores::Folded { labels, values: out };
        }
        let flat = weights.outputs.iter().flat_map(|row| row.iter().flat_map(|lane| lane.0).take(dim));
        Scores::Factored { dim, rows: out, outputs: flat.collect() }
    }
}

impl Course<'_> {
    /// Writes a feature's scores, or its row where there are more labels than values.
    #[inline(always)]
    fn put<const S: usize>(self, outputs: &[Row<S>], (bucket, row): (u32, &Row<S>), out: &mut [f32]) {
        let width = self.labels.min(self.settings.dim);
        let at = self.examples.all.row(bucket).unwrap_or(0) as usize * width;
        let place = &mut out[at..at + width];
        if self.labels <= self.settings.dim {
            for label in 0..width {
                place[label] = dot(row, &outputs[label]);
            }
        } else {
            for (at, value) in place.iter_mut().enumerate() {
                *value = row[at / WIDTH].0[at % WIDTH];
            }
        }
    }

    /// The mean of a text's rows.
    #[inline(always)]
    fn mean<const S: usize>(self, rows: &[Row<S>], own: &[(Row<S>, f32)], example: u32) -> Row<S> {
        let (features, repeats) = self.examples.shared.of(example);
        let at = self.examples.own[example as usize];
        let mut sum = if at == NO_ROW { zeros::<S>() } else { own[at as usize].0 };
        for at in 0..features.len() {
            add_scaled(&mut sum, f32::from(repeats[at]), &rows[features[at] as usize]);
        }
        scaled(sum, 1.0 / self.examples.totals[example as usize] as f32)
    }

    /// Teaches the outputs one text after the other, and leaves the gradient of each text's rows in its mean's place.
    #[inline(always)]
    fn learn_outputs<const S: usize>(self, weights: &mut Weights<S>, block: &[u32], lr: f32) {
        let Weights { outputs, logits, block: means, own, .. } = weights;
        for (mean, example) in means.iter_mut().zip(block) {
            let at = *example as usize;
            let label = self.examples.labels[at] as usize;
            logits.clear();
            for output in outputs.iter() {
                logits.push(dot(mean, output));
            }
            match self.settings.loss {
                Loss::Softmax => softmax(logits),
                Loss::OneVsAll => {
                    for logit in logits.iter_mut() {
                        *logit = sigmoid(*logit);
                    }
                }
            }
            let mut gradient = zeros::<S>();
            for other in 0..outputs.len() {
                let pull = lr * (f32::from(u8::from(other == label)) - logits[other]);
                add_scaled(&mut gradient, pull, &outputs[other]);
                add_scaled(&mut outputs[other], pull, mean);
            }
            *mean = scaled(gradient, 1.0 / self.examples.totals[at] as f32);
            let place = self.examples.own[at];
            if place != NO_ROW {
                let (sum, growth) = &mut own[place as usize];
                add_scaled(sum, *growth, mean);
            }
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
