//! From features to scores to probabilities.
#![allow(clippy::needless_range_loop, reason = "see `rows::add_scaled`")]
#![allow(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the wide registers of `widest`"
)]

use super::features::Words;
use super::rows::widest;
use super::{ClassifierError, Loss};

/// What each feature says of each label.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scores {
    /// A number for each label, feature after feature.
    Folded {
        /// How many.
        labels: usize,
        /// `[features, labels]`.
        values: Vec<f32>,
    },
    /// Two matrices whose product that is: for more labels than `dim`.
    Factored {
        /// Values of a row.
        dim: usize,
        /// `[features, dim]`.
        rows: Vec<f32>,
        /// `[labels, dim]`.
        outputs: Vec<f32>,
    },
}

/// Room for one prediction after the other.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    pub(super) words: Words,
    pub(super) hashes: Vec<u32>,
    pub(super) features: Vec<u32>,
    pub(super) bytes: Vec<u8>,
    pub(super) hidden: Vec<f32>,
    pub(super) logits: Vec<f32>,
    pub(super) probabilities: Vec<f32>,
}

impl Scores {
    /// The smaller form of two matrices.
    pub(super) fn of(rows: Vec<f32>, outputs: Vec<f32>, dim: usize) -> Self {
        let labels = outputs.len() / dim;
        if labels > dim {
            return Self::Factored { dim, rows, outputs };
        }
        let values = widest(Fold { rows: &rows, outputs: &outputs, dim });
        Self::Folded { labels, values }
    }

    /// How many features are known.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Folded { labels, values } => values.len() / labels,
            Self::Factored { dim, rows, .. } => rows.len() / dim,
        }
    }

    /// Whether training ended in numbers.
    pub(super) fn check(&self) -> Result<(), ClassifierError> {
        let is_finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        let fine = match self {
            Self::Folded { values, .. } => is_finite(values),
            Self::Factored { rows, outputs, .. } => is_finite(rows) && is_finite(outputs),
        };
        if fine {
            return Ok(());
        }
        Err(ClassifierError::Data("training diverged: the weights are not finite; lower `lr`".into()))
    }

    /// Writes the score of each label of a text with these features, their mean; zeros where there are none.
    pub(super) fn logits(&self, features: &[u32], hidden: &mut Vec<f32>, logits: &mut Vec<f32>) {
        widest(Score { scores: self, features, hidden, logits });
    }
}

/// Multiplies two matrices.
struct Fold<'a> {
    rows: &'a [f32],
    outputs: &'a [f32],
    dim: usize,
}

impl pulp::NullaryFnOnce for Fold<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn call(self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.rows.len() / self.dim * (self.outputs.len() / self.dim));
        for row in self.rows.chunks_exact(self.dim) {
            for output in self.outputs.chunks_exact(self.dim) {
                values.push(dot(row, output));
            }
        }
        values
    }
}

/// Scores a text.
struct Score<'a> {
    scores: &'a Scores,
    features: &'a [u32],
    hidden: &'a mut Vec<f32>,
    logits: &'a mut Vec<f32>,
}

impl pulp::NullaryFnOnce for Score<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { scores, features, hidden, logits } = self;
        let mean = 1.0 / features.len().max(1) as f32;
        match scores {
            Scores::Folded { labels: 2, values } => {
                logits.clear();
                logits.extend_from_slice(&sum_pairs(values.as_chunks().0, features, mean));
            }
            Scores::Folded { labels, values } => sum_rows(values, *labels, features, mean, logits),
            Scores::Factored { dim, rows, outputs } => {
                sum_rows(rows, *dim, features, mean, hidden);
                logits.clear();
                for output in outputs.chunks_exact(*dim) {
                    logits.push(dot(hidden, output));
                }
            }
        }
    }
}

/// The mean of some pairs, in four sums, since one would wait for itself at each feature.
#[inline(always)]
fn sum_pairs(pairs: &[[f32; 2]], features: &[u32], mean: f32) -> [f32; 2] {
    let mut sums = [[0.0_f32; 2]; 4];
    let (fours, rest) = features.as_chunks::<4>();
    for four in fours {
        for at in 0..4 {
            let pair = &pairs[four[at] as usize];
            sums[at] = [sums[at][0] + pair[0], sums[at][1] + pair[1]];
        }
    }
    for feature in rest {
        let pair = &pairs[*feature as usize];
        sums[0] = [sums[0][0] + pair[0], sums[0][1] + pair[1]];
    }
    [0, 1].map(|at| ((sums[0][at] + sums[1][at]) + (sums[2][at] + sums[3][at])) * mean)
}

/// The mean of some rows.
#[inline(always)]
fn sum_rows(rows: &[f32], width: usize, features: &[u32], mean: f32, sum: &mut Vec<f32>) {
    sum.clear();
    sum.resize(width, 0.0);
    let sum = &mut sum[..width];
    for feature in features {
        let start = *feature as usize * width;
        let row = &rows[start..start + width];
        for at in 0..width {
            sum[at] += row[at];
        }
    }
    for sum in sum.iter_mut() {
        *sum *= mean;
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    for chunk in 0..a.len().min(b.len()) {
        for at in 0..8 {
            sums[at] += a[chunk][at] * b[chunk][at];
        }
    }
    let mut sum = 0.0;
    for part in sums {
        sum += part;
    }
    for at in 0..a_rest.len().min(b_rest.len()) {
        sum += a_rest[at] * b_rest[at];
    }
    sum
}

/// Turns scores into probabilities.
pub(super) fn to_probabilities(loss: Loss, logits: &[f32], out: &mut Vec<f32>) {
    out.clear();
    match loss {
        Loss::OneVsAll => out.extend(logits.iter().map(|logit| sigmoid(*logit))),
        Loss::Softmax => {
            out.extend_from_slice(logits);
            softmax(out);
        }
    }
}

/// `1 / (1 + e^-x)`; the exponential is libm's, so that it is the same on every machine.
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

/// Scores to probabilities that sum to 1.
pub(super) fn softmax(values: &mut [f32]) {
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in values.iter_mut() {
        *value = libm::expf(*value - most);
        sum += *value;
    }
    for value in values.iter_mut() {
        *value /= sum;
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "what is compared is exact")]
mod tests {
    use super::*;

    #[test]
    fn both_forms_score_alike() {
        let (features, dim, labels) = (7, 5, 3);
        let number = |at: usize| ((at * 37 % 19) as f32 - 9.0) / 7.0;
        let rows: Vec<f32> = (0..features * dim).map(number).collect();
        let outputs: Vec<f32> = (0..labels * dim).map(|at| number(at + 3)).collect();
        let folded = Scores::of(rows.clone(), outputs.clone(), dim);
        assert!(matches!(folded, Scores::Folded { .. }));
        let factored = Scores::Factored { dim, rows, outputs };
        assert_eq!((folded.len(), factored.len()), (features, features));
        let (mut hidden, mut a, mut b) = (Vec::new(), Vec::new(), Vec::new());
        for text in [&[0_u32, 3, 3, 6, 1, 2][..], &[], &[5]] {
            folded.logits(text, &mut hidden, &mut a);
            factored.logits(text, &mut hidden, &mut b);
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} {b:?}");
        }
    }

    #[test]
    fn probabilities_stand_far_scores() {
        let mut out = Vec::new();
        to_probabilities(Loss::Softmax, &[1e30, -1e30, 0.0], &mut out);
        assert_eq!(out, [1.0, 0.0, 0.0]);
        to_probabilities(Loss::OneVsAll, &[200.0, -200.0, 0.0], &mut out);
        assert!(out[0] == 1.0 && out[1] < 1e-30 && out[2] == 0.5, "{out:?}");
    }
}
