//! What the second stage sees: what the first said of a block, of those around it, of the regions around it, and of the page.

use super::blocks::{Layout, NONE};
use super::wording::Wording;

/// Names of the features, in their order.
pub(super) const NAMES: [&str; 27] = [
    "p",
    "p-4",
    "p-3",
    "p-2",
    "p-1",
    "p+1",
    "p+2",
    "p+3",
    "p+4",
    "mean3",
    "mean8",
    "mean20",
    "mean60",
    "page.mean",
    "page.max",
    "share_before",
    "sum_after",
    "page.threshold",
    "page.f1",
    "max_before",
    "max_after",
    "up0.mean",
    "up1.mean",
    "up2.mean",
    "up3.mean",
    "up1.sum",
    "up3.sum",
];

/// How much a block weighs: its words, and a little so that one without words has an answer.
fn weight(wording: &Wording) -> f32 {
    wording.words + 0.5
}

/// Sums over the blocks before each, and all.
fn running(values: impl Iterator<Item = f32>) -> Vec<f64> {
    let mut sum = 0.0;
    std::iter::once(0.0)
        .chain(values.map(|value| {
            sum += f64::from(value);
            sum
        }))
        .collect()
}

/// The threshold at which the page's expected F1 is largest, and that F1: what is kept has to be decided for the page, since where all is uncertain the best
/// guess is still one (Jansche, "A Maximum Expected Utility Framework for Binary Sequence Labeling", ACL 2007).
pub(super) fn best_threshold(probabilities: &[f32], wording: &[Wording]) -> (f32, f32) {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]).then(a.cmp(b)));
    let all: f64 = probabilities.iter().zip(wording).map(|(p, wording)| f64::from(p * weight(wording))).sum();
    let (mut hits, mut taken, mut best) = (0.0_f64, 0.0_f64, (0.5_f32, 0.0_f64));
    for index in order {
        hits += f64::from(probabilities[index] * weight(&wording[index]));
        taken += f64::from(weight(&wording[index]));
        let f1 = 2.0 * hits / (taken + all).max(1e-9);
        if f1 > best.1 {
            best = (probabilities[index], f1);
        }
    }
    (best.0, best.1 as f32)
}

/// Appends each block's context to `rows`, one after the other.
pub(super) fn context(blocks: &Layout, probabilities: &[f32], wording: &[Wording]) -> Vec<f32> {
    let count = probabilities.len();
    let sums = running(probabilities.iter().zip(wording).map(|(p, wording)| p * weight(wording)));
    let weights = running(wording.iter().map(weight));
    let mean =
        |from: usize, to: usize| ((sums[to] - sums[from]) / (weights[to] - weights[from]).max(1e-9)) as f32;
    let all = sums.last().copied().unwrap_or(0.0);
    let most = probabilities.iter().copied().fold(0.0, f32::max);
    let (threshold, f1) = best_threshold(probabilities, wording);
    let mut after = vec![0.0_f32; count];
    let mut largest = 0.0_f32;
    for index in (0..count).rev() {
        largest = largest.max(probabilities[index]);
        after[index] = largest;
    }
    let regions = region_sums(blocks, probabilities, wording);
    let mut out = Vec::with_capacity(count * NAMES.len());
    let mut before = 0.0_f32;
    for index in 0..count {
        before = before.max(probabilities[index]);
        out.push(probabilities[index]);
        for offset in [-4_isize, -3, -2, -1, 1, 2, 3, 4] {
            out.push(
                index
                    .checked_add_signed(offset)
                    .and_then(|at| probabilities.get(at))
                    .copied()
                    .unwrap_or(-1.0),
            );
        }
        for reach in [3_usize, 8, 20, 60] {
            out.push(mean(index.saturating_sub(reach), (index + reach + 1).min(count)));
        }
        out.extend([
            mean(0, count),
            most,
            (sums[index] / all.max(1e-9)) as f32,
            (all - sums[index + 1]) as f32,
            threshold,
            f1,
            before,
            after[index],
        ]);
        up(blocks, &regions, blocks.blocks[index].region, &mut out);
    }
    out
}

/// For each region the sum of the probabilities within it, by words, and the words.
fn region_sums(blocks: &Layout, probabilities: &[f32], wording: &[Wording]) -> Vec<(f64, f64)> {
    let mut sums = vec![(0.0, 0.0); blocks.regions.len()];
    for ((block, p), wording) in blocks.blocks.iter().zip(probabilities).zip(wording) {
        if let Some(sum) = sums.get_mut(block.region as usize) {
            sum.0 += f64::from(p * weight(wording));
            sum.1 += f64::from(weight(wording));
        }
    }
    for index in (0..sums.len()).rev() {
        let (own, parent) = (sums[index], blocks.regions[index].parent);
        if let Some(sum) = sums.get_mut(parent as usize) {
            sum.0 += own.0;
            sum.1 += own.1;
        }
    }
    sums
}

fn up(blocks: &Layout, sums: &[(f64, f64)], region: u32, out: &mut Vec<f32>) {
    let mut levels = [(-1.0_f64, 0.0_f64); 4];
    let mut at = region;
    for level in &mut levels {
        let Some((sum, region)) = sums.get(at as usize).zip(blocks.regions.get(at as usize)) else { break };
        *level = (sum.0 / sum.1.max(1e-9), sum.0);
        at = if region.parent == NONE { at } else { region.parent };
    }
    out.extend(levels.iter().map(|level| level.0 as f32));
    out.extend([levels[1].1 as f32, levels[3].1 as f32]);
}
