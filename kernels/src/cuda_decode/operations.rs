//! The kernels with tensors as their arguments. Shapes: `M` rows, `C` channels, `H` query heads, `K` key-value heads, `D` head dim, `V` vocab.

use tch::{Kind, Tensor};

use super::batch::Batch;
use super::program::{Kernel, Program};
use super::weights::Packed;
use crate::KernelError;
use crate::decode::Activation;

/// Rows that the kernels of few rows take.
const FEW_ROWS: usize = 64;

/// The beginning of a pass: a row of the embedding for each token.
#[derive(Debug)]
pub struct Embed<'a> {
    /// `[M, C]`, written.
    pub stream: &'a Tensor,
    /// The same once more, for layers that add it.
    pub first: Option<&'a Tensor>,
    /// `[V, C]`
    pub table: &'a Tensor,
    /// `[P, C]`, added.
    pub positions: Option<&'a Tensor>,
    /// Channels.
    pub width: usize,
    /// Whether an RMS norm without gain follows.
    pub is_normed: bool,
    /// Its epsilon.
    pub eps: f32,
}

#[repr(C)]
struct EmbedArguments {
    stream: u64,
    first: u64,
    table: u64,
    positions: u64,
    tokens: u64,
    rows: u64,
    width: i32,
    is_normed: i32,
    eps: f32,
    padding: i32,
}

/// A norm of rows.
#[derive(Debug)]
pub struct NormRows<'a> {
    /// `[M, C]`, read; written where `first` is there.
    pub stream: &'a Tensor,
    /// With `stays` and `returns`: the stream becomes `stays · stream + returns · first` before the norm.
    pub first: Option<(&'a Tensor, f32, f32)>,
    /// `[C]`
    pub gain: Option<&'a Tensor>,
    /// `[C]`: with it a layer norm, else an RMS norm.
    pub bias: Option<&'a Tensor>,
    /// Only the batch's chosen rows.
    pub of_chosen: bool,
    /// `[rows, stride]` in the weights' format, written.
    pub out: Option<(&'a Tensor, usize)>,
    /// `[rows, C]` in fp32, written.
    pub wide: Option<&'a Tensor>,
    /// Channels.
    pub width: usize,
    /// Epsilon.
    pub eps: f32,
}

#[repr(C)]
struct NormArguments {
    stream: u64,
    first: u64,
    gain: u64,
    bias: u64,
    chosen: u64,
    out: u64,
    wide: u64,
    width: i32,
    stride: i32,
    eps: f32,
    stays: f32,
    returns: f32,
    padding: i32,
}

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

/// What becomes of a product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sink {
    /// It is stored in fp32; logits are squeezed into ± a bound, where that is above 0.
    Store(f32),
    /// It is added to what is there, in fp32.
    Add,
    /// It is stored in the weights' format behind an activation.
    Activate(Activation),
}

/// Rows times weights.
#[derive(Debug)]
pub struct Product<'a> {
    /// `[rows, stride]` in the weights' format; beyond the weights' inputs it is zero.
    pub x: (&'a Tensor, usize),
    /// The weights.
    pub weights: &'a Packed,
    /// `[rows, stride]`, written.
    pub out: (&'a Tensor, usize),
    /// What becomes of it.
    pub sink: Sink,
    /// Only as many rows as the batch has chosen ones.
    pub of_chosen: bool,
}

#[repr(C)]
struct ProductArguments {
    x: u64,
    w: u64,
    bias: u64,
    out: u64,
    rows: i32,
    chunks: i32,
    stride: i32,
    outputs: i32,
    out_stride: i32,
    sink: i32,
    softcap: f32,
    padding: i32,
}

impl Program {
    fn of_float(&self, tensor: Option<&Tensor>, least: usize) -> u64 {
        tensor.map_or(0, |tensor| self.address(tensor, Kind::Float, least))
    }

    fn of_elements(&self, tensor: Option<&Tensor>, least: usize) -> u64 {
        tensor.map_or(0, |tensor| self.address(tensor, self.kind(), least))
    }

    /// Where rows, tiles, tokens, chosen rows and tables lie.
    fn of_batch(&self, batch: &Batch) -> [u64; 5] {
        let start = self.address(&batch.memory, Kind::Int, 0);
        let [tiles, tokens, chosen, tables] = batch.layout().offsets().map(|at| start + 4 * at as u64);
        [start, tiles, tokens, chosen, tables]
    }

    /// Enqueues [`Embed`].
    ///
    /// # Errors
    /// The driver's.
    pub fn embed(&self, batch: &Batch, of: &Embed<'_>) -> Result<(), KernelError> {
        let (limits, rows) = (batch.limits(), batch.layout().rows);
        let [of_rows, _, tokens, ..] = self.of_batch(batch);
        let arguments = EmbedArguments {
            stream: self.of_float(Some(of.stream), rows * of.width),
            first: self.of_float(of.first, rows * of.width),
            table: self.of_elements(Some(of.table), limits.vocab * of.width),
            positions: self.of_elements(of.positions, limits.positions * of.width),
            tokens,
            rows: of_rows,
            width: of.width as i32,
            is_normed: of.is_normed.into(),
            eps: of.eps,
            padding: 0,
        };
        // SAFETY: the sizes were checked, and tokens and positions are within the batch's limits.
        unsafe { self.launch(Kernel::EmbedRows, ([rows as u32, 1, 1], 256), &arguments) }
    }

    /// Enqueues [`NormRows`].
    ///
    /// # Errors
    /// The driver's.
    pub fn norm(&self, batch: &Batch, of: &NormRows<'_>) -> Result<(), KernelError> {
        let layout = batch.layout();
        let rows = if of.of_chosen { layout.chosen } else { layout.rows };
        let chosen = self.of_batch(batch)[3];
        let (first, stays, returns) =
            of.first.map_or((None, 1.0, 0.0), |(x, stays, returns)| (Some(x), stays, returns));
        let (out, stride) = of.out.map_or((None, of.width), |(out, stride)| (Some(out), stride));
        assert!(stride >= of.width);
        let arguments = NormArguments {
            stream: self.of_float(Some(of.stream), layout.rows * of.width),
            first: self.of_float(first, layout.rows * of.width),
            gain: self.of_float(of.gain, of.width),
            bias: self.of_float(of.bias, of.width),
            chosen: if of.of_chosen { chosen } else { 0 },
            out: self.of_elements(out, rows * stride),
            wide: self.of_float(of.wide, rows * of.width),
            width: of.width as i32,
            stride: stride as i32,
            eps: of.eps,
            stays,
            returns,
            padding: 0,
        };
        // SAFETY: the sizes were checked, and chosen rows are within the batch.
        unsafe { self.launch(Kernel::NormRows, ([rows as u32, 1, 1], 256), &arguments) }
    }

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
        let cache = limits.blocks * keys * padded * super::BLOCK_TOKENS;
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
        let cache = limits.blocks * keys * padded * super::BLOCK_TOKENS;
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

    /// Enqueues [`Product`].
    ///
    /// # Errors
    /// The driver's.
    pub fn multiply(&self, batch: &Batch, of: &Product<'_>) -> Result<(), KernelError> {
        let layout = batch.layout();
        let rows = if of.of_chosen { layout.chosen } else { layout.rows };
        let (weights, (out, out_stride)) = (of.weights, of.out);
        assert!(of.x.1 >= weights.chunks * 32 && out_stride >= weights.outputs);
        let (sink, softcap, is_wide) = match of.sink {
            Sink::Store(softcap) => (0, softcap, true),
            Sink::Add => (1, 0.0, true),
            Sink::Activate(Activation::SwiGlu) => (2, 0.0, false),
            Sink::Activate(Activation::Relu2) => (3, 0.0, false),
            Sink::Activate(Activation::GeluTanh) => (4, 0.0, false),
        };
        assert_eq!(weights.is_gated, sink == 2, "gated weights are for SwiGLU");
        let kind = if is_wide { Kind::Float } else { self.kind() };
        let tiles = weights.tiles();
        let arguments = ProductArguments {
            x: self.of_elements(Some(of.x.0), rows * of.x.1),
            w: self.of_elements(Some(&weights.weight), tiles * 16 * weights.chunks * 32),
            bias: self.of_float(weights.bias.as_ref(), tiles * 16),
            out: self.address(out, kind, rows * out_stride),
            rows: rows as i32,
            chunks: weights.chunks as i32,
            stride: of.x.1 as i32,
            outputs: weights.outputs as i32,
            out_stride: out_stride as i32,
            sink,
            softcap,
            padding: 0,
        };
        let (tiles, few) = (tiles as u32, [tiles as u32, 1, 1]);
        let (kernel, geometry) = if self.shape().is_fp32 {
            (Kernel::Product, ([tiles, rows.div_ceil(8) as u32, 1], 256))
        } else {
            match rows {
                0..=8 => (Kernel::Product8, (few, 256)),
                9..=16 => (Kernel::Product16, (few, 256)),
                17..=32 => (Kernel::Product32, (few, 256)),
                33..=FEW_ROWS => (Kernel::Product64, (few, 256)),
                _ => (Kernel::ProductMany, ([tiles.div_ceil(4), rows.div_ceil(64) as u32, 1], 128)),
            }
        };
        // SAFETY: the sizes were checked.
        unsafe { self.launch(kernel, geometry, &arguments) }
    }
}
