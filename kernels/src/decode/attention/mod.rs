//! Keys and values in blocks, and attention over them.
//!
//! A block holds 32 positions of every layer and head. Keys lie dimension by dimension, so that a block's scores are made side by side; values
//! position by position; in bf16 two dimensions of a key, and two positions of a value, stand together. A query goes through its blocks in
//! their order, each whole, with a running maximum (Milakov and Gimelshein 2018, arXiv:1805.02867): what it sums up in which order depends on its
//! position alone.
//!
//! Shapes: `M` rows, `H` query heads, `K` key-value heads, `D` head dim.

use super::elementwise::{exp, of_bf16, sum_of, to_bf16};
use super::instructions::by_instructions;
use super::memory::Memory;
use super::pool::{Pool, SharedMut};

/// Positions of a block.
pub const BLOCK_TOKENS: usize = 32;
/// Largest width of a head.
pub const MOST_DIM: usize = 512;

/// Sizes of a store of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvSizes {
    /// Layers.
    pub layers: usize,
    /// Blocks.
    pub blocks: usize,
    /// Key-value heads, `K`.
    pub heads: usize,
    /// Width of a head, `D`.
    pub dim: usize,
}

/// Keys and values.
#[derive(Debug)]
pub struct KvBlocks {
    sizes: KvSizes,
    /// Dimensions of a head, filled up with zeros.
    padded: usize,
    is_wide: bool,
    memory: Memory<u8>,
}

/// A row's place in its sequence.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The sequence's blocks.
    pub blocks: &'a [u32],
    /// Its position.
    pub position: usize,
}

/// Rows of queries, keys and values, `[M, (H + 2K)·D]`.
#[derive(Debug, Clone, Copy)]
pub struct Projected<'a> {
    /// The rows.
    pub rows: &'a [f32],
    /// Query heads, `H`.
    pub heads: usize,
}

impl KvBlocks {
    /// An empty store: in fp32 (`is_wide`), or in bf16.
    ///
    /// # Panics
    /// Heads wider than [`MOST_DIM`].
    pub fn new(sizes: KvSizes, is_wide: bool) -> Self {
        assert!(sizes.dim <= MOST_DIM, "a head of {} dimensions", sizes.dim);
        let padded = sizes.dim.next_multiple_of(32);
        let head = 2 * BLOCK_TOKENS * padded * if is_wide { 4 } else { 2 };
        Self {
            sizes,
            padded,
            is_wide,
            memory: Memory::zeros(sizes.layers * sizes.blocks * sizes.heads * head),
        }
    }

    /// Its sizes.
    pub fn sizes(&self) -> KvSizes {
        self.sizes
    }

    /// Memory that it holds.
    pub fn num_bytes(&self) -> usize {
        self.memory.len()
    }

    fn head_bytes(&self) -> usize {
        2 * BLOCK_TOKENS * self.padded * if self.is_wide { 4 } else { 2 }
    }

    /// Where the keys of a head begin; its values follow.
    fn at(&self, layer: usize, block: u32, head: usize) -> *mut u8 {
        assert!((block as usize) < self.sizes.blocks && layer < self.sizes.layers && head < self.sizes.heads);
        let index = (layer * self.sizes.blocks + block as usize) * self.sizes.heads + head;
        self.memory.pointer().wrapping_add(index * self.head_bytes())
    }

    /// Stores the keys and values of rows at their places, of which no two are the same.
    pub fn store(&mut self, pool: &mut Pool, layer: usize, places: &[Place<'_>], projected: Projected<'_>) {
        let KvSizes { heads, dim, .. } = self.sizes;
        let width = (projected.heads + 2 * heads) * dim;
        assert_eq!(projected.rows.len(), places.len() * width, "{} rows of {width}", places.len());
        for place in places.iter().filter(|place| place.position.is_multiple_of(BLOCK_TOKENS)) {
            let start = self.at(layer, place.block(), 0);
            // SAFETY: the heads of a block lie side by side. What another sequence left there is gone, whatever it was.
            unsafe { start.write_bytes(0, heads * self.head_bytes()) };
        }
        let per_part = places.len().div_ceil(pool.threads() * 4).max(16);
        let this = &*self;
        pool.run(places.len().div_ceil(per_part), &|part| {
            for row in part * per_part..places.len().min((part + 1) * per_part) {
                let inputs = &projected.rows[row * width..][..width];
                let (keys, values) = inputs[projected.heads * dim..].split_at(heads * dim);
                for head in 0..heads {
                    let from = head * dim..(head + 1) * dim;
                    let start = this.at(layer, places[row].block(), head);
                    let at = places[row].position % BLOCK_TOKENS;
                    // SAFETY: no two rows have one place, and each writes its own elements.
                    unsafe { this.store_head(start, at, &keys[from.clone()], &values[from]) };
                }
            }
        });
    }

    /// # Safety
    /// `start` is a head of a block, and nobody else reads or writes its position `at`.
    unsafe fn store_head(&self, start: *mut u8, at: usize, keys: &[f32], values: &[f32]) {
        let area = BLOCK_TOKENS * self.padded;
        for (d, (key, value)) in keys.iter().zip(values).enumerate() {
            // SAFETY: both places are in the head's two areas.
            unsafe {
                if self.is_wide {
                    let start = start.cast::<f32>();
                    *start.add(d * BLOCK_TOKENS + at) = *key;
                    *start.add(area + at * self.padded + d) = *value;
                } else {
                    let start = start.cast::<u16>();
                    *start.add((d / 2 * BLOCK_TOKENS + at) * 2 + d % 2) = to_bf16(*key);
                    *start.add(area + (at / 2 * self.padded + d) * 2 + at % 2) = to_bf16(*value);
                }
            }
        }
    }

    /// Mixes for each row the values of the positions up to its own, of the last `window` ones where that is not 0.
    ///
    /// # Shapes
    /// `projected` `[M, (H + 2K)·D]`, of which the queries are read → `out [M, H·D]`.
    pub fn attend(
        &self,
        pool: &mut Pool,
        (layer, window): (usize, usize),
        places: &[Place<'_>],
        projected: Projected<'_>,
        out: &mut [f32],
    ) {
        let KvSizes { heads, dim, .. } = self.sizes;
        let (width, group) = ((projected.heads + 2 * heads) * dim, projected.heads / heads);
        assert_eq!(projected.rows.len(), places.len() * width, "{} rows of {width}", places.len());
        assert_eq!(out.len(), places.len() * projected.heads * dim, "{} rows", places.len());
        let instructions = pool.instructions();
        let mixed = SharedMut(out.as_mut_ptr());
        let items = places.len() * heads;
        // A few keys are not worth another thread.
        let keys: usize = places.iter().map(|place| place.position + 1).sum();
        let parts = (keys * heads / 512).clamp(1, pool.threads() * 8).min(items.max(1));
        let per_part = items.div_ceil(parts);
        pool.run(items.div_ceil(per_part), &|part| {
            for item in part * per_part..items.min((part + 1) * per_part) {
                let (row, head) = (item / heads, item % heads);
                let place = places[row];
                let first = if window == 0 { 0 } else { (place.position + 1).saturating_sub(window) };
                for query in head * group..(head + 1) * group {
                    let queries = &projected.rows[row * width + query * dim..][..dim];
                    // SAFETY: each row and query head is in one part.
                    let out = unsafe {
                        let at = (row * projected.heads + query) * dim;
                        std::slice::from_raw_parts_mut(mixed.get().add(at), dim)
                    };
                    let seen = Seen { store: self, layer, head, place, first };
                    mix(instructions, &seen, queries, out);
                }
            }
        });
    }
}

impl Place<'_> {
    fn block(&self) -> u32 {
        self.blocks[self.position / BLOCK_TOKENS]
    }
}

/// What a query sees.
struct Seen<'a> {
    store: &'a KvBlocks,
    layer: usize,
    head: usize,
    place: Place<'a>,
    first: usize,
}

by_instructions! {
    fn mix(instructions, seen: &Seen<'_>, query: &[f32], out: &mut [f32]) {
        let (store, last) = (seen.store, seen.place.position);
        let (padded, area) = (store.padded, BLOCK_TOKENS * store.padded);
        let scale = 1.0 / (store.sizes.dim as f32).sqrt();
        let (mut scaled, mut sums) = ([0.0f32; MOST_DIM], [0.0f32; MOST_DIM]);
        for (scaled, q) in scaled.iter_mut().zip(query) {
            *scaled = q * scale;
        }
        let (mut most, mut total) = (f32::NEG_INFINITY, 0.0f32);
        for index in seen.first / BLOCK_TOKENS..=last / BLOCK_TOKENS {
            let start = store.at(seen.layer, seen.place.blocks[index], seen.head);
            // SAFETY: a head has two areas of 32 positions by `padded` dimensions; rows that write while this reads write other blocks'
            // positions than those that are seen.
            let mut scores = unsafe {
                if store.is_wide { scores_fp32(start.cast(), &scaled, padded) } else { scores_bf16(start.cast(), &scaled, padded) }
            };
            for (key, score) in scores.iter_mut().enumerate() {
                let position = index * BLOCK_TOKENS + key;
                *score = if position >= seen.first && position <= last { *score } else { f32::NEG_INFINITY };
            }
            let highest = highest(&scores, most);
            let kept = exp(most - highest);
            let (mut shares, mut lanes) = (scores, [0.0; 16]);
            for share in &mut shares {
                *share = exp(*share - highest);
            }
            for lane in 0..16 {
                lanes[lane] = shares[lane] + shares[lane + 16];
            }
            total = total * kept + sum_of(&lanes);
            most = highest;
            // SAFETY: as above.
            unsafe {
                let values = start.add(area * if store.is_wide { 4 } else { 2 });
                if padded.is_multiple_of(64) {
                    values_of::<64>(store.is_wide, values, padded, &shares, kept, &mut sums);
                } else {
                    values_of::<32>(store.is_wide, values, padded, &shares, kept, &mut sums);
                }
            }
        }
        let inverse = 1.0 / total;
        for (out, sum) in out.iter_mut().zip(&sums) {
            *out = sum * inverse;
        }
    }
}

type Scores = [f32; BLOCK_TOKENS];

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
    let (mut even, mut odd) = ([0.0f32; BLOCK_TOKENS], [0.0f32; BLOCK_TOKENS]);
    for pair in 0..padded / 2 {
        // SAFETY: the caller's keys have `padded / 2` lines of 32 pairs.
        let line = unsafe { &*keys.cast::<[u32; BLOCK_TOKENS]>().add(pair) };
        for key in 0..BLOCK_TOKENS {
            even[key] = query[2 * pair].mul_add(f32::from_bits(line[key] << 16), even[key]);
            odd[key] = query[2 * pair + 1].mul_add(f32::from_bits(line[key] & 0xffff_0000), odd[key]);
        }
    }
    for key in 0..BLOCK_TOKENS {
        even[key] += odd[key];
    }
    even
}

/// Adds a block's values by their shares to the sums, which are multiplied by `kept` before.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
unsafe fn values_of<const WIDTH: usize>(
    is_wide: bool,
    values: *const u8,
    padded: usize,
    shares: &Scores,
    kept: f32,
    sums: &mut [f32; MOST_DIM],
) {
    for from in (0..padded).step_by(WIDTH) {
        let mut held = [0.0; WIDTH];
        for d in 0..WIDTH {
            held[d] = sums[from + d] * kept;
        }
        for pair in 0..BLOCK_TOKENS / 2 {
            let (first, second) = (shares[2 * pair], shares[2 * pair + 1]);
            // SAFETY: the caller's values have 32 lines of `padded`, or 16 of as many pairs.
            unsafe {
                if is_wide {
                    let line = values.cast::<f32>().add(2 * pair * padded + from);
                    let (line, next) =
                        (&*line.cast::<[f32; WIDTH]>(), &*line.add(padded).cast::<[f32; WIDTH]>());
                    for d in 0..WIDTH {
                        held[d] = second.mul_add(next[d], first.mul_add(line[d], held[d]));
                    }
                } else {
                    let line = &*values.cast::<u32>().add(pair * padded + from).cast::<[u32; WIDTH]>();
                    for d in 0..WIDTH {
                        let sum = first.mul_add(f32::from_bits(line[d] << 16), held[d]);
                        held[d] = second.mul_add(f32::from_bits(line[d] & 0xffff_0000), sum);
                    }
                }
            }
        }
        sums[from..from + WIDTH].copy_from_slice(&held);
    }
}

/// The number of a bf16 that is kept in a table.
pub fn widen(narrow: &[u16], out: &mut [f32]) {
    out.iter_mut().zip(narrow).for_each(|(out, x)| *out = of_bf16(*x));
}

/// Numbers as bf16, to nearest.
pub fn narrowed(wide: &[f32]) -> Vec<u16> {
    wide.iter().map(|x| to_bf16(*x)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{sets, wave};
    use super::*;

    /// Two sequences in blocks that lie anyhow, grouped heads, a window or none, against sums in f64.
    #[test]
    fn attention_over_blocks_equals_plain_sums_and_every_set_has_the_same_bits() {
        let (heads, kv_heads, layers) = (4, 2, 2);
        let tables: [&[u32]; 2] = [&[7, 0, 3], &[5, 2, 6]];
        for (dim, window, is_wide) in [(8, 0, true), (64, 0, false), (96, 40, true), (64, 5, false)] {
            let width = (heads + 2 * kv_heads) * dim;
            let length = 70;
            let places: Vec<Place> =
                (0..2 * length).map(|i| Place { blocks: tables[i / length], position: i % length }).collect();
            let rows = wave(places.len() * width, dim);
            let projected = Projected { rows: &rows, heads };
            let mut found: Vec<Vec<f32>> = Vec::new();
            for set in sets() {
                let mut pool = Pool::with_instructions(2, set);
                let mut store = KvBlocks::new(KvSizes { layers, blocks: 8, heads: kv_heads, dim }, is_wide);
                store.store(&mut pool, 1, &places, projected);
                let mut out = vec![0.0; places.len() * heads * dim];
                store.attend(&mut pool, (1, window), &places, projected, &mut out);
                found.push(out);
            }
            assert!(found.iter().all(|out| *out == found[0]));
            let cell = |row: usize, at: usize| -> f64 {
                let x = rows[row * width + at];
                f64::from(if is_wide { x } else { of_bf16(to_bf16(x)) })
            };
            let mut worst = 0.0f64;
            for (row, place) in places.iter().enumerate() {
                let first = if window == 0 { 0 } else { (place.position + 1).saturating_sub(window) };
                for head in 0..heads {
                    let (key, value) = ((heads + head / 2) * dim, (heads + kv_heads + head / 2) * dim);
                    let others: Vec<usize> =
                        (first..=place.position).map(|i| row - place.position + i).collect();
                    let score = |other: usize| -> f64 {
                        let q = |d: usize| f64::from(rows[row * width + head * dim + d]);
                        (0..dim).map(|d| q(d) * cell(other, key + d)).sum::<f64>() / (dim as f64).sqrt()
                    };
                    let shares: Vec<f64> = others.iter().map(|other| score(*other).exp()).collect();
                    let total: f64 = shares.iter().sum();
                    for d in 0..dim {
                        let mixed: f64 =
                            others.iter().zip(&shares).map(|(o, s)| s * cell(*o, value + d)).sum();
                        let got = f64::from(found[0][(row * heads + head) * dim + d]);
                        worst = worst.max((got - mixed / total).abs());
                    }
                }
            }
            println!("heads of {dim}, window {window}: at most {worst:.1e}");
            assert!(worst < 2e-6, "heads of {dim}, window {window}: {worst:e}");
        }
    }
}
