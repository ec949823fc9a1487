//! Rows times packed weights.
//!
//! Threads share the panels. The sum of each output goes over the inputs in their order, whatever else is in the call: so a row's bits do not
//! depend on its neighbours, nor on who computes it.
//!
//! Shapes: `M` rows, `K` inputs, `N` outputs.

use std::ops::Range;

use super::elementwise::Activation;
use super::inputs::Inputs;
use super::instructions::{Instructions, by_instructions};
use super::low_rank::Additions;
use super::matrix::{COLUMNS, HALF, Matrix, Order, WeightFormat};
use super::plain;
use super::pool::{Pool, SharedMut};
#[cfg(target_arch = "x86_64")]
use super::{narrow, tiles, wide};

/// Rows that are multiplied by a panel at once.
const BLOCK: usize = 32;
/// Bytes of rows that are gone through for each panel: they stay in a core's cache.
const ROWS_BYTES: usize = 768 << 10;

/// What becomes of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// It is stored: `[M, N]`.
    Store,
    /// It is added to what is there: `[M, N]`.
    Add,
    /// It goes through an activation, a gated one with half the outputs: `[M, I]`.
    Activate(Activation),
}

/// What a kernel reads: up to 32 rows and a panel.
pub(super) struct Panel {
    /// The first row.
    pub rows: *const u8,
    /// Bytes from a row to the next.
    pub stride: usize,
    /// Rows.
    pub count: usize,
    /// The panel.
    pub weights: *const u8,
    /// Steps of the inputs: one, 32 (bf16, int4) or 64 (int8) at once.
    pub steps: usize,
    /// Int4: eight times the sum of each group of each row. Int8: 128 times the sum of each output's weights.
    pub offsets: *const i32,
    /// Whether the panel was not read just before.
    pub is_fresh: bool,
    /// Whether this thread reads on behind the panel.
    pub is_followed: bool,
}

impl Panel {
    /// A row's inputs.
    pub(super) fn row<T>(&self, row: usize) -> *const T {
        self.rows.wrapping_add(row * self.stride).cast()
    }
}

/// Sums of rows by the outputs of a panel; whole numbers as bits in int8.
#[repr(C, align(64))]
pub(super) struct Sums(pub [[f32; COLUMNS]; BLOCK]);

impl Matrix {
    /// Multiplies the rows and puts the result into `out`.
    ///
    /// # Panics
    /// Rows of another format or width; an `out` of another size.
    pub fn multiply(&self, pool: &mut Pool, inputs: &Inputs, sink: Sink, out: &mut [f32]) {
        self.multiply_with(pool, inputs, (sink, None), out);
    }

    /// [`Matrix::multiply`], where adapters add to the products of some rows before the sink takes them; the bits of other rows stay.
    ///
    /// # Panics
    /// As [`Matrix::multiply`].
    pub fn multiply_with(
        &self,
        pool: &mut Pool,
        inputs: &Inputs,
        (sink, added): (Sink, Option<&Additions>),
        out: &mut [f32],
    ) {
        assert!(inputs.format == self.format && inputs.width == self.inputs, "rows of another kind");
        let is_gated = matches!(sink, Sink::Activate(Activation::SwiGlu));
        assert_eq!(is_gated, self.order == Order::Gated, "gates without what they gate, or the reverse");
        let width = if is_gated { self.outputs / 2 } else { self.outputs };
        assert_eq!(out.len(), inputs.rows * width, "{} rows of {width}", inputs.rows);
        let block = (ROWS_BYTES / inputs.stride / BLOCK).max(1) * BLOCK;
        let (blocks, panels) = (inputs.rows.div_ceil(block), self.num_panels());
        let shares = Shares::new(panels, pool.threads());
        let per_block = shares.count();
        let call = Call { matrix: self, inputs, sink, added, out: SharedMut(out.as_mut_ptr()), width };
        let instructions = pool.instructions();
        pool.run(blocks * per_block, &|part| {
            let first = part / per_block * block;
            let rows = first..inputs.rows.min(first + block);
            // SAFETY: each part has its own rows and columns of `out`.
            unsafe { call.part(instructions, rows, shares.range(part % per_block)) };
        });
    }
}

/// Panels in parts: first a long one for each thread, which it reads on end, then short ones for whoever is done.
#[derive(Debug, Clone, Copy)]
struct Shares {
    panels: usize,
    threads: usize,
    long: usize,
    short: usize,
}

impl Shares {
    fn new(panels: usize, threads: usize) -> Self {
        let long = panels * 3 / 4 / threads;
        let rest = panels - long * threads;
        Self { panels, threads, long, short: rest.div_ceil(4 * threads).max(1) }
    }

    /// Parts that are left when the long ones are taken.
    fn rest(&self) -> usize {
        self.panels - self.long * self.threads
    }

    fn num_long(&self) -> usize {
        if self.long > 0 { self.threads } else { 0 }
    }

    fn count(&self) -> usize {
        self.num_long() + self.rest().div_ceil(self.short)
    }

    fn range(&self, part: usize) -> Range<usize> {
        if part < self.num_long() {
            return part * self.long..(part + 1) * self.long;
        }
        let start = self.long * self.threads + (part - self.num_long()) * self.short;
        start..self.panels.min(start + self.short)
    }
}

struct Call<'a> {
    matrix: &'a Matrix,
    inputs: &'a Inputs,
    sink: Sink,
    added: Option<&'a Additions>,
    out: SharedMut<f32>,
    width: usize,
}

impl Call<'_> {
    /// Some rows by some panels.
    ///
    /// # Safety
    /// Nobody else writes these rows and columns.
    unsafe fn part(&self, instructions: Instructions, rows: Range<usize>, panels: Range<usize>) {
        let (matrix, inputs) = (self.matrix, self.inputs);
        let mut sums = Sums([[0.0; COLUMNS]; BLOCK]);
        let mut tiles = Tiles::new(instructions, matrix.format);
        for at in panels.clone() {
            for first in rows.clone().step_by(BLOCK) {
                let count = BLOCK.min(rows.end - first);
                let offsets = match matrix.format {
                    WeightFormat::Int4 => inputs.sums.pointer().wrapping_add(first * inputs.groups()),
                    _ => matrix.offsets.pointer().wrapping_add(at * COLUMNS),
                };
                let panel = Panel {
                    rows: inputs.bytes.pointer().wrapping_add(first * inputs.stride),
                    stride: inputs.stride,
                    count,
                    weights: matrix.panels.pointer().wrapping_add(at * matrix.panel_bytes),
                    steps: matrix.padded() / matrix.format.step(),
                    offsets,
                    is_fresh: first == rows.start,
                    is_followed: at + 1 < panels.end,
                };
                // SAFETY: the panel is within the matrix and the rows, which have its format.
                unsafe { tiles.sum(&panel, &mut sums) };
                self.finish(instructions, (first, count), at, &sums);
            }
        }
    }

    /// Takes the sums of a panel to their place.
    fn finish(&self, instructions: Instructions, (first, count): (usize, usize), panel: usize, sums: &Sums) {
        let matrix = self.matrix;
        let columns = panel * COLUMNS..(panel + 1) * COLUMNS;
        let is_gated = matrix.order == Order::Gated;
        let step = if is_gated { HALF } else { COLUMNS };
        let facts = Finish {
            format: matrix.format,
            sink: self.sink,
            scales: &matrix.scales[columns.clone()],
            bias: &matrix.bias[columns],
            rows: if matrix.format.input_bytes() == 1 {
                &self.inputs.scales[first..first + count]
            } else {
                &[]
            },
            added: self.added.map(|added| Added {
                rows: added,
                first,
                halves: [
                    panel * step,
                    if is_gated { self.width + panel * step } else { panel * step + HALF },
                ],
            }),
            out: self.out.get().wrapping_add(first * self.width + panel * step),
            stride: self.width,
            columns: step.min(self.width - panel * step),
        };
        finish_rows(instructions, &facts, &sums.0[..count]);
    }
}

struct Finish<'a> {
    format: WeightFormat,
    sink: Sink,
    scales: &'a [f32],
    bias: &'a [f32],
    rows: &'a [f32],
    added: Option<Added<'a>>,
    out: *mut f32,
    stride: usize,
    columns: usize,
}

/// What is added to a panel's sums.
struct Added<'a> {
    rows: &'a Additions,
    /// The first row of the sums.
    first: usize,
    /// The first output of each half of the panel.
    halves: [usize; 2],
}

impl Added<'_> {
    /// Adds to the sums of a row.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
    fn to(&self, row: usize, values: &mut [f32; COLUMNS]) {
        let Some(added) = self.rows.of(self.first + row) else { return };
        for (half, values) in self.halves.iter().zip(values.chunks_exact_mut(HALF)) {
            for (value, added) in values.iter_mut().zip(&added[*half..][..HALF]) {
                *value += added;
            }
        }
    }
}

by_instructions! {
    fn finish_rows(instructions, facts: &Finish<'_>, sums: &[[f32; COLUMNS]]) {
        let (Ok(scales), Ok(bias)) =
            (<&[f32; COLUMNS]>::try_from(facts.scales), <&[f32; COLUMNS]>::try_from(facts.bias))
        else {
            return;
        };
        for (row, sums) in sums.iter().enumerate() {
            let mut values = *sums;
            match facts.format {
                WeightFormat::Fp32 | WeightFormat::Bf16 => {}
                WeightFormat::Int8 => {
                    for lane in 0..COLUMNS {
                        values[lane] = sums[lane].to_bits() as i32 as f32 * facts.rows[row] * scales[lane];
                    }
                }
                WeightFormat::Int4 => {
                    for value in &mut values {
                        *value *= facts.rows[row];
                    }
                }
            }
            for lane in 0..COLUMNS {
                values[lane] += bias[lane];
            }
            if let Some(added) = &facts.added {
                added.to(row, &mut values);
            }
            match facts.sink {
                Sink::Store | Sink::Add => {}
                Sink::Activate(Activation::SwiGlu) => {
                    for lane in 0..HALF {
                        values[lane] = Activation::SwiGlu.of(values[lane]) * values[lane + HALF];
                    }
                }
                Sink::Activate(Activation::Relu2) => {
                    for value in &mut values {
                        *value = Activation::Relu2.of(*value);
                    }
                }
                Sink::Activate(Activation::GeluTanh) => {
                    for value in &mut values {
                        *value = Activation::GeluTanh.of(*value);
                    }
                }
            }
            // SAFETY: the row has `columns` places from here on, and nobody else writes them now.
            let out = unsafe { std::slice::from_raw_parts_mut(facts.out.add(row * facts.stride), facts.columns) };
            let is_added = facts.sink == Sink::Add;
            if let Ok(out) = <&mut [f32; COLUMNS]>::try_from(&mut *out) {
                if is_added {
                    for lane in 0..COLUMNS {
                        out[lane] += values[lane];
                    }
                } else {
                    *out = values;
                }
            } else {
                for (out, value) in out.iter_mut().zip(values) {
                    *out = if is_added { *out + value } else { value };
                }
            }
        }
    }
}

/// The kernel of a format and a set of instructions, and the tiles that it has configured.
struct Tiles {
    instructions: Instructions,
    format: WeightFormat,
    #[cfg(target_arch = "x86_64")]
    few: usize,
    #[cfg(target_arch = "x86_64")]
    configured: tiles::Configured,
}

/// Up to so many rows go by registers on a machine with tiles: as long as they keep up with the memory, and longer in int4, whose weights have to
/// be unpacked into memory for tiles.
#[cfg(target_arch = "x86_64")]
fn few_rows(format: WeightFormat) -> usize {
    match format {
        WeightFormat::Fp32 => 0,
        WeightFormat::Bf16 => 2,
        WeightFormat::Int8 => 4,
        WeightFormat::Int4 => 8,
    }
}

impl Tiles {
    fn new(instructions: Instructions, format: WeightFormat) -> Self {
        Self {
            instructions,
            format,
            #[cfg(target_arch = "x86_64")]
            few: few_rows(format),
            #[cfg(target_arch = "x86_64")]
            configured: tiles::Configured::default(),
        }
    }

    /// The sums of a panel.
    ///
    /// # Safety
    /// The panel is of this format and holds what its counts say.
    #[cfg(target_arch = "x86_64")]
    unsafe fn sum(&mut self, panel: &Panel, sums: &mut Sums) {
        use WeightFormat::{Bf16, Fp32, Int4, Int8};
        let by_tiles =
            self.instructions == Instructions::Amx && self.format != Fp32 && panel.count > self.few;
        if by_tiles {
            let step = if self.format == Int4 { 32 } else { 64 };
            self.configured.set((panel.count.min(16), panel.count.saturating_sub(16)), step);
        }
        // SAFETY: the pool's instructions were detected on this machine; the tiles were configured just now.
        unsafe {
            match (self.format, self.instructions) {
                (Bf16, Instructions::Amx) if by_tiles => tiles::bf16(panel, sums),
                (Int8, Instructions::Amx) if by_tiles => tiles::int8(panel, sums),
                (Int4, Instructions::Amx) if by_tiles => tiles::int4(panel, sums),
                (Bf16, Instructions::Amx) => wide::bf16_as_tiles(panel, sums),
                (Bf16, Instructions::Avx512) => wide::bf16(panel, sums),
                (Int8, Instructions::Avx512 | Instructions::Amx) => wide::int8(panel, sums),
                (Int4, Instructions::Avx512 | Instructions::Amx) => wide::int4(panel, sums),
                (Int8, Instructions::Avx2) => narrow::int8(panel, sums),
                (Int4, Instructions::Avx2) => narrow::int4(panel, sums),
                (Int8, Instructions::Scalar) => plain::int8(panel, sums),
                (Int4, Instructions::Scalar) => plain::int4(panel, sums),
                (Bf16, Instructions::Avx2 | Instructions::Scalar) => {
                    plain::bf16(self.instructions, panel, sums);
                }
                (Fp32, _) => plain::fp32(self.instructions, panel, sums),
            }
        }
    }

    /// The sums of a panel.
    ///
    /// # Safety
    /// The panel is of this format and holds what its counts say.
    #[cfg(not(target_arch = "x86_64"))]
    unsafe fn sum(&mut self, panel: &Panel, sums: &mut Sums) {
        match self.format {
            WeightFormat::Fp32 => plain::fp32(self.instructions, panel, sums),
            WeightFormat::Bf16 => plain::bf16(self.instructions, panel, sums),
            WeightFormat::Int8 => plain::int8(panel, sums),
            WeightFormat::Int4 => plain::int4(panel, sums),
        }
    }
}
