//! Rows of embeddings and norms of rows.

use tch::Tensor;

use super::super::batch::Batch;
use super::super::program::{Kernel, Program};
use crate::KernelError;

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

impl Program {
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
}
