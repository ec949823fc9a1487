//! The rows of a pass, as the kernels read them: where each stands, where its key and value go, what it attends to.

use tch::Tensor;

use super::program::Program;
use crate::KernelError;

/// Positions of a block.
pub const BLOCK_TOKENS: usize = 32;
/// Positions of a part of attention.
const PART_TOKENS: usize = 4 * BLOCK_TOKENS;
/// Pairs of a query and a head that a warp attends for at once.
const TILE_PAIRS: usize = 16;

/// New tokens of one sequence.
#[derive(Debug, Clone, Copy)]
pub struct Stretch<'a> {
    /// The tokens, at least one.
    pub tokens: &'a [u32],
    /// Position of the first.
    pub start: usize,
    /// The sequence's blocks, past the last new token.
    pub blocks: &'a [u32],
}

impl Stretch<'_> {
    /// Parts that the last row attends to.
    pub fn parts(&self) -> usize {
        (self.start + self.tokens.len() - 1) / PART_TOKENS + 1
    }
}

/// What no pass goes beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of the vocabulary.
    pub vocab: usize,
    /// Blocks of the cache.
    pub blocks: usize,
    /// Positions of a sequence.
    pub positions: usize,
    /// Rows of a pass.
    pub rows: usize,
    /// Rows whose attention is split into parts.
    pub splits: usize,
    /// Query heads that share a key-value head.
    pub group: usize,
}

impl Limits {
    /// Parts of the longest sequence.
    pub fn parts(&self) -> usize {
        self.positions.div_ceil(PART_TOKENS)
    }

    /// Queries of a tile.
    fn tile_queries(&self) -> usize {
        TILE_PAIRS / self.group.min(TILE_PAIRS)
    }

    /// Numbers of the longest pass.
    fn numbers(&self) -> usize {
        let tiles = self.rows + self.splits * self.parts().next_power_of_two();
        4 * self.rows + 4 * tiles + 2 * self.rows + self.rows * self.positions.div_ceil(BLOCK_TOKENS)
    }
}

/// Rows of a pass in memory of the device.
#[derive(Debug)]
pub struct Batch {
    pub(super) memory: Tensor,
    limits: Limits,
    numbers: Vec<i32>,
    layout: Layout,
}

/// How many of each there are, and so where each begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Layout {
    pub rows: usize,
    pub tiles: usize,
    pub chosen: usize,
    /// Whether rows are split.
    pub is_split: bool,
}

impl Layout {
    /// Where tiles, tokens, chosen rows and tables begin; the rows begin at 0.
    pub(super) fn offsets(self) -> [usize; 4] {
        let tiles = 4 * self.rows;
        let tokens = tiles + 4 * self.tiles;
        let chosen = tokens + self.rows;
        [tiles, tokens, chosen, chosen + self.chosen]
    }
}

impl Batch {
    /// Room for the largest pass.
    pub fn new(program: &Program, limits: Limits) -> Self {
        let memory = Tensor::zeros([limits.numbers() as i64], (tch::Kind::Int, program.device()));
        Self { memory, limits, numbers: Vec::new(), layout: Layout::default() }
    }

    /// What no pass goes beyond.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// Takes the rows of `stretches`, of which those with the numbers `chosen` are asked for. With `fixed` rows and parts a row, which suit
    /// passes of one token a stretch, the layout depends on these numbers alone.
    ///
    /// # Panics
    /// Where something goes beyond the limits: an error of the caller's.
    pub fn fill(&mut self, stretches: &[Stretch<'_>], chosen: &[usize], fixed: Option<(usize, usize)>) {
        let limits = self.limits;
        let count: usize = stretches.iter().map(|stretch| stretch.tokens.len()).sum();
        assert!(count <= limits.rows && chosen.iter().all(|row| *row < count), "a pass of {count} rows");
        let (mut rows, mut tiles, mut tokens, mut tables) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut num_splits = 0;
        for stretch in stretches {
            let table = tables.len();
            self.add_table(stretch, &mut tables);
            // One part alone is not worth a kernel that merges it.
            let is_long = fixed.map_or(stretch.parts(), |(_, parts)| parts) > 1;
            let is_split = is_long && stretch.tokens.len() == 1 && num_splits < limits.splits;
            let first = tokens.len();
            for (position, token) in (stretch.start..).zip(stretch.tokens) {
                assert!((*token as usize) < limits.vocab, "token {token}");
                tokens.push(*token as i32);
                let block = stretch.blocks[position / BLOCK_TOKENS] as usize;
                let slot = block * BLOCK_TOKENS + position % BLOCK_TOKENS;
                let split = if is_split { num_splits as i32 } else { -1 };
                rows.extend([position as i32, slot as i32, table as i32, split]);
            }
            if is_split {
                num_splits += 1;
                tiles.extend((0..stretch.parts()).flat_map(|part| [first as i32, 1, part as i32, 0]));
            } else {
                for at in (0..stretch.tokens.len()).step_by(limits.tile_queries()) {
                    let count = limits.tile_queries().min(stretch.tokens.len() - at);
                    tiles.extend([(first + at) as i32, count as i32, -1, 0]);
                }
            }
            if let Some((_, parts)) = fixed {
                assert!(
                    stretch.tokens.len() == 1 && stretch.parts() <= parts,
                    "a pass of fixed shape: {stretch:?}"
                );
                tiles.resize(4 * parts * (first + 1), 0);
            }
        }
        let mut chosen: Vec<i32> = chosen.iter().map(|row| *row as i32).collect();
        if let Some((fixed_rows, parts)) = fixed {
            assert!(count <= fixed_rows && fixed_rows <= limits.rows);
            rows.resize(4 * fixed_rows, -1);
            tokens.resize(fixed_rows, 0);
            tiles.resize(4 * fixed_rows * parts, 0);
            chosen.resize(fixed_rows, 0);
        }
        self.layout = Layout {
            rows: tokens.len(),
            tiles: tiles.len() / 4,
            chosen: chosen.len(),
            is_split: num_splits > 0,
        };
        self.numbers.clear();
        for part in [&rows, &tiles, &tokens, &chosen, &tables] {
            self.numbers.extend_from_slice(part);
        }
    }

    fn add_table(&self, stretch: &Stretch<'_>, tables: &mut Vec<i32>) {
        let end = stretch.start + stretch.tokens.len();
        assert!(end <= self.limits.positions, "position {end} of {}", self.limits.positions);
        let blocks = &stretch.blocks[..end.div_ceil(BLOCK_TOKENS)];
        assert!(blocks.iter().all(|block| (*block as usize) < self.limits.blocks), "a block of {blocks:?}");
        tables.extend(blocks.iter().map(|block| *block as i32));
    }

    /// Enqueues the copy to the device.
    ///
    /// # Errors
    /// The driver's.
    pub fn upload(&self, program: &mut Program) -> Result<(), KernelError> {
        program.upload(&self.memory, &self.numbers)
    }
}
