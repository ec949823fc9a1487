//! Weights in the order in which the products read them.
//!
//! 32 outputs are a panel, in two halves of 16, and a panel lies in memory as it is read, from its first input to its last. For bf16 that is a
//! tile of AMX after another (two halves a step): a row of 64 bytes has two inputs (bf16) or four (int8) of each of sixteen outputs. AVX-512
//! and AVX2 read the same rows. Fp32 is input by input. Int4 are groups of [`GROUP`] inputs: their 32 scales in bf16, then each half in 256 bytes,
//! the inputs of the group's second half in the upper four bits.
//!
//! Int8 has one scale for each output and is symmetric; int4 has one for each group of an output, symmetric too, and is kept with 8 added.
//!
//! Shapes: `N` outputs, `K` inputs.

use super::elementwise::{of_bf16, to_bf16};
use super::memory::Memory;
use super::pool::{Pool, SharedMut};

/// Outputs of a panel.
pub(super) const COLUMNS: usize = 32;
/// Outputs of half a panel: a tile's width.
pub(super) const HALF: usize = 16;
/// Inputs that share a scale in int4.
pub(super) const GROUP: usize = 32;
/// Bytes of a group of a panel: scales and two halves.
pub(super) const GROUP_BYTES: usize = 2 * COLUMNS + COLUMNS * GROUP / 2;

/// How weights are kept, and what they are multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// Both in fp32.
    Fp32,
    /// Both in bf16, sums in fp32.
    Bf16,
    /// Both in 8 bits, sums in 32.
    Int8,
    /// Weights in 4 bits, what they are multiplied by in 8.
    Int4,
}

impl WeightFormat {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Fp32, Self::Bf16, Self::Int8, Self::Int4];

    /// Inputs are filled up with zeros to a multiple of this.
    pub(super) fn step(self) -> usize {
        match self {
            Self::Fp32 => 1,
            Self::Bf16 => 32,
            Self::Int8 => 64,
            Self::Int4 => GROUP,
        }
    }

    /// Bytes of an input, as it is multiplied.
    pub(super) fn input_bytes(self) -> usize {
        match self {
            Self::Fp32 => 4,
            Self::Bf16 => 2,
            Self::Int8 | Self::Int4 => 1,
        }
    }

    fn panel_bytes(self, inputs: usize) -> usize {
        match self {
            Self::Fp32 => inputs * COLUMNS * 4,
            Self::Bf16 => inputs * COLUMNS * 2,
            Self::Int8 => inputs * COLUMNS,
            Self::Int4 => inputs / GROUP * GROUP_BYTES,
        }
    }
}

/// Which outputs stand side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they come.
    Plain,
    /// The first half of them are gates, the second what they gate: each panel has sixteen of both.
    Gated,
}

/// Packed weights `[N, K]` and their bias `[N]`.
#[derive(Debug)]
pub struct Matrix {
    pub(super) format: WeightFormat,
    pub(super) order: Order,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    pub(super) panels: Memory<u8>,
    pub(super) panel_bytes: usize,
    /// By panel and column.
    pub(super) scales: Memory<f32>,
    pub(super) bias: Memory<f32>,
    /// 128 times the sum of each output's weights in int8.
    pub(super) offsets: Memory<i32>,
}

impl Matrix {
    /// Packs `weights [N, K]`.
    ///
    /// # Panics
    /// Weights or a bias of another size, an odd number of gated outputs.
    pub fn pack(
        pool: &mut Pool,
        weights: &[f32],
        bias: Option<&[f32]>,
        inputs: usize,
        (order, format): (Order, WeightFormat),
    ) -> Self {
        let outputs = weights.len() / inputs;
        assert_eq!(weights.len(), outputs * inputs, "weights of {inputs} inputs");
        assert!(bias.is_none_or(|bias| bias.len() == outputs), "a bias of {outputs} outputs");
        assert!(order == Order::Plain || outputs.is_multiple_of(2), "{outputs} gates and gated");
        let padded = inputs.next_multiple_of(format.step());
        let panel_bytes = format.panel_bytes(padded);
        let num_panels = match order {
            Order::Plain => outputs.div_ceil(COLUMNS),
            Order::Gated => (outputs / 2).div_ceil(HALF),
        };
        let matrix = Self {
            format,
            order,
            outputs,
            inputs,
            panels: Memory::zeros(num_panels * panel_bytes),
            panel_bytes,
            scales: Memory::zeros(num_panels * COLUMNS),
            bias: Memory::zeros(num_panels * COLUMNS),
            offsets: Memory::zeros(num_panels * COLUMNS),
        };
        let (panels, scales) = (SharedMut(matrix.panels.pointer()), SharedMut(matrix.scales.pointer()));
        let (biases, offsets) = (SharedMut(matrix.bias.pointer()), SharedMut(matrix.offsets.pointer()));
        let shape = &matrix;
        pool.run(num_panels, &|panel| {
            for column in 0..COLUMNS {
                let Some(row) = shape.source(panel, column) else { continue };
                let source = &weights[row * inputs..][..inputs];
                let at = panel * COLUMNS + column;
                // SAFETY: each panel is one part, and no two parts share a panel's bytes, scales, biases or offsets.
                unsafe {
                    let bytes =
                        std::slice::from_raw_parts_mut(panels.get().add(panel * panel_bytes), panel_bytes);
                    let (scale, offset) = pack_column(format, source, column, bytes);
                    *scales.get().add(at) = scale;
                    *offsets.get().add(at) = offset;
                    *biases.get().add(at) = bias.map_or(0.0, |bias| bias[row]);
                }
            }
        });
        matrix
    }

    /// How its weights are kept.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// `N`.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// `K`.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Memory of the weights.
    pub fn num_bytes(&self) -> usize {
        self.panels.len()
    }

    pub(super) fn num_panels(&self) -> usize {
        self.scales.len() / COLUMNS
    }

    /// Inputs with what fills them up.
    pub(super) fn padded(&self) -> usize {
        self.inputs.next_multiple_of(self.format.step())
    }

    /// The output that stands in a column of a panel.
    fn source(&self, panel: usize, column: usize) -> Option<usize> {
        match self.order {
            Order::Plain => Some(panel * COLUMNS + column).filter(|row| *row < self.outputs),
            Order::Gated => {
                let (inner, width) = (panel * HALF + column % HALF, self.outputs / 2);
                (inner < width).then_some(inner + if column < HALF { 0 } else { width })
            }
        }
    }
}

/// Puts an output's weights into its column of a panel; its scale and offset.
fn pack_column(format: WeightFormat, source: &[f32], column: usize, panel: &mut [u8]) -> (f32, i32) {
    let (half, lane) = (column / HALF, column % HALF);
    match format {
        WeightFormat::Fp32 => {
            for (k, weight) in source.iter().enumerate() {
                panel[(k * COLUMNS + column) * 4..][..4].copy_from_slice(&weight.to_ne_bytes());
            }
            (1.0, 0)
        }
        WeightFormat::Bf16 => {
            for (k, weight) in source.iter().enumerate() {
                let at = place(k, 32, 2, (half, lane)) * 2;
                panel[at..][..2].copy_from_slice(&to_bf16(*weight).to_ne_bytes());
            }
            (1.0, 0)
        }
        WeightFormat::Int8 => {
            let scale = source.iter().fold(0.0f32, |most, x| most.max(x.abs())) / 127.0;
            let mut sum = 0;
            for (k, weight) in source.iter().enumerate() {
                let whole = if scale > 0.0 { (weight / scale).round().clamp(-127.0, 127.0) as i8 } else { 0 };
                sum += i32::from(whole);
                panel[place(k, 64, 4, (half, lane))] = whole as u8;
            }
            (scale, 128 * sum)
        }
        WeightFormat::Int4 => {
            for (group, weights) in source.chunks(GROUP).enumerate() {
                let block = &mut panel[group * GROUP_BYTES..][..GROUP_BYTES];
                let scale = int4_scale(weights);
                block[column * 2..][..2].copy_from_slice(&scale.to_ne_bytes());
                let scale = of_bf16(scale);
                let half_block = &mut block[2 * COLUMNS + half * GROUP * HALF / 2..][..GROUP * HALF / 2];
                for k in 0..GROUP {
                    let weight = weights.get(k).copied().unwrap_or(0.0);
                    let whole = if scale == 0.0 { 0.0 } else { (weight / scale).round().clamp(-8.0, 7.0) };
                    let bits = (whole + 8.0) as u8;
                    let at = (k % 16 / 4) * 64 + lane * 4 + k % 4;
                    half_block[at] |= if k < 16 { bits } else { bits << 4 };
                }
            }
            (1.0, 0)
        }
    }
}

/// Where an input of an output lies in a panel of tiles, in elements: `step` inputs a tile, `pack` of them side by side.
fn place(k: usize, step: usize, pack: usize, (half, lane): (usize, usize)) -> usize {
    let tile = k / step * 2 + half;
    tile * step * HALF + (k % step / pack) * HALF * pack + lane * pack + k % pack
}

/// The scale of a group, in bf16: of a few that let the largest weight be between −8 and −7, the one that loses least.
fn int4_scale(weights: &[f32]) -> u16 {
    let extreme = weights.iter().fold(0.0f32, |most, x| if x.abs() > most.abs() { *x } else { most });
    if extreme == 0.0 {
        return 0;
    }
    let lost = |scale: f32| -> f32 {
        weights.iter().map(|x| (x - (x / scale).round().clamp(-8.0, 7.0) * scale).powi(2)).sum()
    };
    let tried = [-8.0, -7.75, -7.5, -7.25, -7.0, -6.75, -6.5, 7.0, 7.25];
    let scales = tried.map(|steps: f32| to_bf16(extreme / steps));
    let best = scales.into_iter().map(|bits| (lost(of_bf16(bits)), bits)).min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(0, |(_, bits)| bits)
}
