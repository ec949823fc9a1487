//! Rows times weights.

use tch::{Kind, Tensor};

use super::super::batch::Batch;
use super::super::program::{Kernel, Program};
use super::super::weights::Packed;
use crate::KernelError;
use crate::decode::Activation;

/// Rows that the kernels of few rows take.
const FEW_ROWS: usize = 64;

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
