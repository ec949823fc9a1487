//! Keys and values in blocks, and attention over them.
//!
//! A block holds 32 positions of every layer and head. Keys lie dimension by dimension, so that a block's scores are made side by side; values
//! position by position; in bf16 two dimensions of a key, and two positions of a value, stand together: what a tile of AMX reads. A query goes
//! through its blocks in their order, each whole, with a running maximum (Milakov and Gimelshein 2018, arXiv:1805.02867): what it sums up in
//! which order depends on its position alone.
//!
//! With keys and values in bf16, queries and shares are rounded to it too, and summed as tiles do: even and odd inputs apart, 32 at a time. So
//! every set of instructions has the same bits, but for numbers below 1.2e-38, which tiles take for 0.
//!
//! Shapes: `M` rows, `H` query heads, `K` key-value heads, `D` head dim.

mod mix;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiled;

use super::Instructions;
use super::elementwise::{of_bf16, to_bf16};
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
        let by_tiles = instructions == Instructions::Amx && !self.is_wide;
        let runs = runs_of(places, if by_tiles { (MOST_QUERIES / group).max(1) } else { 1 });
        let chunks = group.div_ceil(MOST_QUERIES);
        let call = Call { store: self, layer, window, projected, width, out: SharedMut(out.as_mut_ptr()) };
        // A few keys are not worth another thread.
        let keys: usize = places.iter().map(|place| place.position + 1).sum();
        let units = runs.len() * heads * chunks;
        let parts = (keys * heads / 512).clamp(1, pool.threads() * 16).min(units.max(1));
        let per_part = units.div_ceil(parts);
        pool.run(units.div_ceil(per_part), &|part| {
            let units = part * per_part..units.min((part + 1) * per_part);
            let queries = units.map(|unit| {
                let (run, head, chunk) = (unit / chunks / heads, unit / chunks % heads, unit % chunks);
                let (first_row, count) = runs[run];
                let heads = head * group + chunk * MOST_QUERIES..(head + 1) * group;
                let heads = heads.start..heads.end.min(heads.start + MOST_QUERIES);
                Queries { call: &call, head, first_row, places: &places[first_row..first_row + count], heads }
            });
            // SAFETY: each row and query head is in one part.
            unsafe { mix_all(instructions, by_tiles, queries) };
        });
    }
}

/// Most queries that go through the blocks together: a tile's rows.
const MOST_QUERIES: usize = 16;

/// Rows that follow each other in one sequence, at most so many: the first one and how many.
fn runs_of(places: &[Place<'_>], most: usize) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::with_capacity(places.len().div_ceil(most));
    for (row, place) in places.iter().enumerate() {
        match runs.last_mut() {
            Some((first, count)) if *count < most && places[*first].is_followed(*count, place) => *count += 1,
            _ => runs.push((row, 1)),
        }
    }
    runs
}

/// What all queries of a call have in common.
struct Call<'a> {
    store: &'a KvBlocks,
    layer: usize,
    window: usize,
    projected: Projected<'a>,
    width: usize,
    out: SharedMut<f32>,
}

/// Queries of one key-value head: some heads of some rows that follow each other in a sequence.
struct Queries<'a> {
    call: &'a Call<'a>,
    head: usize,
    first_row: usize,
    places: &'a [Place<'a>],
    heads: std::ops::Range<usize>,
}

impl Queries<'_> {
    fn count(&self) -> usize {
        self.places.len() * self.heads.len()
    }

    fn place(&self, at: usize) -> Place<'_> {
        self.places[at / self.heads.len()]
    }

    /// A query's row, and its head.
    fn row_and_head(&self, at: usize) -> (usize, usize) {
        (self.first_row + at / self.heads.len(), self.heads.start + at % self.heads.len())
    }

    /// A query, `[D]`.
    fn query(&self, at: usize) -> &[f32] {
        let (Call { projected, width, store, .. }, (row, head)) = (self.call, self.row_and_head(at));
        &projected.rows[row * width + head * store.sizes.dim..][..store.sizes.dim]
    }

    /// Where what a query mixes goes, `[D]`.
    ///
    /// # Safety
    /// Nobody else has this query.
    #[allow(clippy::mut_from_ref, reason = "each query's place is its own")]
    unsafe fn out(&self, at: usize) -> &mut [f32] {
        let ((row, head), dim) = (self.row_and_head(at), self.call.store.sizes.dim);
        let start = (row * self.call.projected.heads + head) * dim;
        // SAFETY: the call's `out` has a place for each query, and this one is the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.call.out.get().add(start), dim) }
    }

    /// The first and the last position that a query sees.
    fn sees(&self, at: usize) -> (usize, usize) {
        let last = self.place(at).position;
        (if self.call.window == 0 { 0 } else { (last + 1).saturating_sub(self.call.window) }, last)
    }

    /// Where a block's keys begin; its values follow.
    fn block(&self, index: usize) -> *mut u8 {
        self.call.store.at(self.call.layer, self.places[0].blocks[index], self.head)
    }
}

/// # Safety
/// Nobody else has these queries, and the blocks that they see are written.
unsafe fn mix_all<'a>(instructions: Instructions, by_tiles: bool, all: impl Iterator<Item = Queries<'a>>) {
    #[cfg(target_arch = "x86_64")]
    if by_tiles {
        let mut tiles = super::tiles::Configured::default();
        for queries in all {
            tiles.set((queries.count(), queries.count()), 64);
            // SAFETY: the pool's instructions were detected on this machine, and the tiles are configured; the rest is the caller's promise.
            unsafe { tiled::mix(&queries) };
        }
        return;
    }
    for queries in all {
        for at in 0..queries.count() {
            mix::mix(instructions, &queries, at);
        }
    }
}

impl Place<'_> {
    /// Whether the other is of the same sequence, so many positions further.
    fn is_followed(&self, by: usize, other: &Self) -> bool {
        std::ptr::eq(self.blocks, other.blocks) && self.position + by == other.position
    }

    fn block(&self) -> u32 {
        self.blocks[self.position / BLOCK_TOKENS]
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
