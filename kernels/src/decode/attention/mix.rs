//! A query at a time, by any set of instructions; and how scores become shares, which is the same for all.

use super::super::elementwise::{exp, of_bf16, sum_of, to_bf16};
use super::super::instructions::by_instructions;
use super::{BLOCK_TOKENS, MOST_DIM, Queries};

/// Inputs that a tile sums before it adds them to what it has.
const STEP: usize = 32;

/// The scores of a block, and what becomes of them.
pub(super) type Scores = [f32; BLOCK_TOKENS];

/// The largest score of a query so far, and the sum of its shares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    pub most: f32,
    pub total: f32,
}

impl Running {
    pub(super) const START: Self = Self { most: f32::NEG_INFINITY, total: 0.0 };

    /// Turns the scores of a block into shares, of those from `first` to `last` only; what has been summed before is to be multiplied by the
    /// result.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
    pub(super) fn soften<const IS_WIDE: bool>(
        &mut self,
        scores: &mut Scores,
        (first, last): (usize, usize),
    ) -> f32 {
        for (key, score) in scores.iter_mut().enumerate() {
            *score = if key >= first && key <= last { *score } else { f32::NEG_INFINITY };
        }
        let highest = highest(scores, self.most);
        let kept = exp(self.most - highest);
        let mut lanes = [0.0; 16];
        for share in &mut *scores {
            *share = exp(*share - highest);
            if !IS_WIDE {
                *share = of_bf16(to_bf16(*share));
            }
        }
        for lane in 0..16 {
            lanes[lane] = scores[lane] + scores[lane + 16];
        }
        self.total = self.total * kept + sum_of(&lanes);
        self.most = highest;
        kept
    }
}

/// The first and the last position of a block that is seen.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
pub(super) fn within(block: usize, (first, last): (usize, usize)) -> (usize, usize) {
    let start = block * BLOCK_TOKENS;
    (first.saturating_sub(start), (last - start).min(BLOCK_TOKENS - 1))
}

/// What scores are multiplied by.
pub(super) fn scale_of(dim: usize) -> f32 {
    1.0 / (dim as f32).sqrt()
}

by_instructions! {
    pub(super) fn mix(instructions, queries: &Queries<'_>, at: usize) {
        let (store, sees) = (queries.call.store, queries.sees(at));
        let (padded, area, scale) = (store.padded, BLOCK_TOKENS * store.padded, scale_of(store.sizes.dim));
        let (mut query, mut sums) = ([0.0f32; MOST_DIM], [0.0f32; MOST_DIM]);
        for (query, q) in query.iter_mut().zip(queries.query(at)) {
            *query = if store.is_wide { q * scale } else { of_bf16(to_bf16(*q)) };
        }
        let mut running = Running::START;
        for index in sees.0 / BLOCK_TOKENS..=sees.1 / BLOCK_TOKENS {
            let start = queries.block(index).cast_const();
            let seen = within(index, sees);
            // SAFETY: a head has two areas of 32 positions by `padded` dimensions; rows that write while this reads write other blocks'
            // positions than those that are seen.
            unsafe {
                if store.is_wide {
                    let mut scores = scores_fp32(start.cast(), &query, padded);
                    let kept = running.soften::<true>(&mut scores, seen);
                    let values = start.cast::<f32>().add(area);
                    for from in (0..padded).step_by(STEP) {
                        values_fp32(values.add(from), padded, &scores, kept, &mut sums[from..]);
                    }
                } else {
                    let mut scores = scores_bf16(start.cast(), &query, padded);
                    for score in &mut scores {
                        *score *= scale;
                    }
                    let kept = running.soften::<false>(&mut scores, seen);
                    let values = start.cast::<u16>().add(area).cast::<u32>();
                    for from in (0..padded).step_by(STEP) {
                        values_bf16(values.add(from), padded, &scores, kept, &mut sums[from..]);
                    }
                }
            }
        }
        let inverse = 1.0 / running.total;
        // SAFETY: the caller has this query to itself.
        let out = unsafe { queries.out(at) };
        for (out, sum) in out.iter_mut().zip(&sums) {
            *out = sum * inverse;
        }
    }
}

/// The largest of the scores and `most`; none where one of them is no number.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
fn highest(scores: &Scores, most: f32) -> f32 {
    let mut lanes = [0.0; 16];
    for lane in 0..16 {
        lanes[lane] = larger(scores[lane], scores[lane + 16]);
    }
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] = larger(lanes[lane], lanes[lane + half]);
        }
    }
    larger(lanes[0], most)
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
unsafe fn scores_fp32(keys: *const f32, query: &[f32; MOST_DIM], padded: usize) -> Scores {
    let (mut even, mut odd) = ([0.0f32; BLOCK_TOKENS], [0.0f32; BLOCK_TOKENS]);
    for pair in 0..padded / 2 {
        // SAFETY: the caller's keys have `padded` lines of 32.
        let lines = unsafe { &*keys.cast::<[Scores; 2]>().add(pair) };
        for key in 0..BLOCK_TOKENS {
            even[key] = query[2 * pair].mul_add(lines[0][key], even[key]);
            odd[key] = query[2 * pair + 1].mul_add(lines[1][key], odd[key]);
        }
    }
    for key in 0..BLOCK_TOKENS {
        even[key] += odd[key];
    }
    even
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
unsafe fn scores_bf16(keys: *const u32, query: &[f32; MOST_DIM], padded: usize) -> Scores {
    let mut scores = [0.0f32; BLOCK_TOKENS];
    for step in 0..padded / STEP {
        let (mut even, mut odd) = ([0.0f32; BLOCK_TOKENS], [0.0f32; BLOCK_TOKENS]);
        for pair in step * STEP / 2..(step + 1) * STEP / 2 {
            // SAFETY: the caller's keys have `padded / 2` lines of 32 pairs.
            let line = unsafe { &*keys.cast::<[u32; BLOCK_TOKENS]>().add(pair) };
            for key in 0..BLOCK_TOKENS {
                even[key] = query[2 * pair].mul_add(f32::from_bits(line[key] << 16), even[key]);
                odd[key] = query[2 * pair + 1].mul_add(f32::from_bits(line[key] & 0xffff_0000), odd[key]);
            }
        }
        for key in 0..BLOCK_TOKENS {
            scores[key] += even[key] + odd[key];
        }
    }
    scores
}

/// Adds a block's values by their shares to the sums of [`STEP`] dimensions, which are multiplied by `kept` before.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
unsafe fn values_fp32(values: *const f32, padded: usize, shares: &Scores, kept: f32, sums: &mut [f32]) {
    let mut held = [0.0; STEP];
    for d in 0..STEP {
        held[d] = sums[d] * kept;
    }
    for (position, share) in shares.iter().enumerate() {
        // SAFETY: the caller's values have 32 lines of `padded`.
        let line = unsafe { &*values.add(position * padded).cast::<[f32; STEP]>() };
        for d in 0..STEP {
            held[d] = share.mul_add(line[d], held[d]);
        }
    }
    sums[..STEP].copy_from_slice(&held);
}

/// The same of values in bf16.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
unsafe fn values_bf16(values: *const u32, padded: usize, shares: &Scores, kept: f32, sums: &mut [f32]) {
    let (mut even, mut odd) = ([0.0f32; STEP], [0.0f32; STEP]);
    for pair in 0..BLOCK_TOKENS / 2 {
        // SAFETY: the caller's values have 16 lines of `padded` pairs.
        let line = unsafe { &*values.add(pair * padded).cast::<[u32; STEP]>() };
        for d in 0..STEP {
            even[d] = shares[2 * pair].mul_add(f32::from_bits(line[d] << 16), even[d]);
            odd[d] = shares[2 * pair + 1].mul_add(f32::from_bits(line[d] & 0xffff_0000), odd[d]);
        }
    }
    for d in 0..STEP {
        sums[d] = sums[d] * kept + (even[d] + odd[d]);
    }
}
