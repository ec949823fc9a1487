//! Queries, keys and values, and attention over the cache.

use tch::Tensor;

use super::super::batch::{BLOCK_TOKENS, Batch};
use super::super::program::{Kernel, Program};
use crate::KernelError;

/// Sizes of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub queries: usize,
    /// Key-value heads.
    pub keys: usize,
    /// Width of a head.
    pub dim: usize,
}

/// An embedding that a gate adds to the values.
#[derive(Debug)]
pub struct ValueEmbedding<'a> {
    /// `[V, K·D]`
    pub table: &'a Tensor,
    /// `[K, channels]`
    pub gates: &'a Tensor,
    /// What the layer read, `[M, stride]`.
    pub normed: (&'a Tensor, usize),
    /// Channels that a gate reads.
    pub channels: usize,
}

/// What is done to queries, keys and values before they are used; keys and values go into the cache.
#[derive(Debug)]
pub struct TurnHeads<'a> {
    /// `[M, (H + 2K)·D]`
    pub projected: &'a Tensor,
    /// `[M, H, padded D]`, written.
    pub queries: &'a Tensor,
    /// The layer's blocks of keys and of values, written.
    pub cache: (&'a Tensor, &'a Tensor),
    /// Cosines and sines, each `[P, D/2]`.
    pub rope: Option<(&'a Tensor, &'a Tensor)>,
    /// Norms of queries and of keys, each with its gain `[D]` if it has one.
    pub norms: Option<(Option<&'a Tensor>, Option<&'a Tensor>)>,
    /// Whether the rotation comes before the norms.
    pub is_rotated_first: bool,
    /// A value embedding.
    pub values: Option<ValueEmbedding<'a>>,
    /// Sizes.
    pub heads: Heads,
    /// Epsilon of the norms.
    pub eps: f32,
}

#[repr(C)]
struct TurnArguments {
    projected: u64,
    queries: u64,
    keys: u64,
    values: u64,
    cos: u64,
    sin: u64,
    query_gain: u64,
    key_gain: u64,
    normed: u64,
    embeddings: u64,
    gates: u64,
    tokens: u64,
    rows: u64,
    heads: i32,
    kv_heads: i32,
    dim: i32,
    stride: i32,
    channels: i32,
    is_normed: i32,
    is_rotated_first: i32,
    eps: f32,
}

/// Attention of a pass's rows over the cache.
#[derive(Debug)]
pub struct Attend<'a> {
    /// `[M, H, padded D]`
    pub queries: &'a Tensor,
    /// The layer's blocks of keys and of values.
    pub cache: (&'a Tensor, &'a Tensor),
    /// `[M, stride]`, written.
    pub mixed: (&'a Tensor, usize),
    /// What split rows keep of each part: weighted values `[splits, parts, H, padded D]`, maximum and sum `[splits, parts, H, 2]`.
    pub parts: (&'a Tensor, &'a Tensor),
    /// Sizes.
    pub heads: Heads,
    /// Tokens that the layer sees; 0: all.
    pub window: usize,
}

#[repr(C)]
struct AttentionArguments {
    queries: u64,
    keys: u64,
    values: u64,
    mixed: u64,
    parts: u64,
    parts_sums: u64,
    tables: u64,
    tiles: u64,
    rows: u64,
    heads: i32,
    kv_heads: i32,
    dim: i32,
    stride: i32,
    window: i32,
    parts_stride: i32,
    scale: f32,
    padding: i32,
}

impl Program {
    /// Enqueues [`TurnHeads`].
    ///
    /// # Errors
    /// The driver's.
    pub fn turn(&self, batch: &Batch, of: &TurnHeads<'_>) -> Result<(), KernelError> {
        let (limits, rows) = (batch.limits(), batch.layout().rows);
        let [of_rows, _, tokens, ..] = self.of_batch(batch);
        let Heads { queries, keys, dim } = of.heads;
        let padded = self.shape().padded_dim();
        assert!(dim == self.shape().head_dim && keys * limits.group == queries);
        let all = queries + 2 * keys;
        let cache = limits.blocks * keys * padded * BLOCK_TOKENS;
        let half = limits.positions * (dim / 2);
        let values = of.values.as_ref();
        let (query_gain, key_gain) = of.norms.unwrap_or_default();
        let arguments = TurnArguments {
            projected: self.of_float(Some(of.projected), rows * all * dim),
            queries: self.of_elements(Some(of.queries), rows * queries * padded),
            keys: self.of_elements(Some(of.cache.0), cache),
            values: self.of_elements(Some(of.cache.1), cache),
            cos: self.of_float(of.rope.map(|rope| rope.0), half),
            sin: self.of_float(of.rope.map(|rope| rope.1), half),
            query_gain: self.of_float(query_gain, dim),
            key_gain: self.of_float(key_gain, dim),
            normed: self.of_elements(values.map(|v| v.normed.0), values.map_or(0, |v| rows * v.normed.1)),
            embeddings: self.of_elements(values.map(|v| v.table), limits.vocab * keys * dim),
            gates: self.of_float(values.map(|v| v.gates), values.map_or(0, |v| keys * v.channels)),
            tokens,
            rows: of_rows,
            heads: queries as i32,
            kv_heads: keys as i32,
            dim: dim as i32,
            stride: values.map_or(0, |v| v.normed.1 as i32),
            channels: values.map_or(0, |v| v.channels as i32),
            is_normed: of.norms.is_some().into(),
            is_rotated_first: of.is_rotated_first.into(),
            eps: of.eps,
        };
        let grid = [all.div_ceil(4) as u32, rows as u32, 1];
        // SAFETY: the sizes were checked; tokens, positions and slots are within the batch's limits.
        unsafe { self.launch(Kernel::TurnHeads, (grid, 128), &arguments) }
    }

    /// Enqueues [`Attend`].
    ///
    /// # Errors
    /// The driver's.
    pub fn attend(&self, batch: &Batch, of: &Attend<'_>) -> Result<(), KernelError> {
        let (limits, layout) = (batch.limits(), batch.layout());
        let [rows, tiles, _, _, tables] = self.of_batch(batch);
        let Heads { queries, keys, dim } = of.heads;
        let padded = self.shape().padded_dim();
        assert!(
            dim == self.shape().head_dim && keys * limits.group == queries && of.mixed.1 >= queries * dim
        );
        let cache = limits.blocks * keys * padded * BLOCK_TOKENS;
        let parts = if self.shape().is_fp32 { 0 } else { limits.splits * limits.parts() * queries };
        let arguments = AttentionArguments {
            queries: self.of_elements(Some(of.queries), layout.rows * queries * padded),
            keys: self.of_elements(Some(of.cache.0), cache),
            values: self.of_elements(Some(of.cache.1), cache),
            mixed: self.of_elements(Some(of.mixed.0), layout.rows * of.mixed.1),
            parts: self.of_float(Some(of.parts.0), parts * padded),
            parts_sums: self.of_float(Some(of.parts.1), parts * 2),
            tables,
            tiles,
            rows,
            heads: queries as i32,
            kv_heads: keys as i32,
            dim: dim as i32,
            stride: of.mixed.1 as i32,
            window: of.window as i32,
            parts_stride: limits.parts() as i32,
            scale: std::f32::consts::LOG2_E / (dim as f32).sqrt(),
            padding: 0,
        };
        let by_row = [layout.rows as u32, queries as u32, 1];
        // SAFETY: the sizes were checked; tables, slots and splits are within the batch's limits.
        unsafe {
            if self.shape().is_fp32 {
                return self.launch(Kernel::Attend, (by_row, 32), &arguments);
            }
            let by_tile = [layout.tiles as u32, (keys * limits.group.div_ceil(16)) as u32, 1];
            self.launch(Kernel::Attend, (by_tile, 32), &arguments)?;
            if layout.is_split {
                self.launch(Kernel::MergeParts, (by_row, padded as u32), &arguments)?;
            }
        }
        Ok(())
    }
}
