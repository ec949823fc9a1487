//! The rows that a product reads, in the number format of its weights.
//!
//! Int8 has one scale for each row, symmetric: what a row is rounded to depends on the row alone.
//!
//! Shapes: `M` rows, `K` inputs.

use super::elementwise::to_bf16;
use super::instructions::by_instructions;
use super::matrix::{GROUP, WeightFormat};
use super::memory::Memory;
use super::pool::{MIN_ROWS, Pool, SharedMut};

/// Rows `[M, K]`; their memory stays from one product to the next.
#[derive(Debug)]
pub struct Inputs {
    pub(super) format: WeightFormat,
    pub(super) rows: usize,
    pub(super) width: usize,
    /// Bytes from a row to the next: a line more than its own, so that rows do not meet in one set of a cache.
    pub(super) stride: usize,
    pub(super) bytes: Memory<u8>,
    /// By row.
    pub(super) scales: Memory<f32>,
    /// Eight times the sum of each group of a row, in int4. `[M, K/32]`
    pub(super) sums: Memory<i32>,
    wide: Memory<f32>,
}

impl Inputs {
    /// No rows.
    pub fn new(format: WeightFormat, inputs: usize) -> Self {
        let row = inputs.next_multiple_of(format.step()) * format.input_bytes();
        Self {
            format,
            rows: 0,
            width: inputs,
            stride: row.next_multiple_of(64) + 64,
            bytes: Memory::zeros(0),
            scales: Memory::zeros(0),
            sums: Memory::zeros(0),
            wide: Memory::zeros(0),
        }
    }

    /// Groups of a row.
    pub(super) fn groups(&self) -> usize {
        self.width.div_ceil(GROUP)
    }

    /// Rows that are held.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Takes `rows` rows, each as `make` writes it: its number and `[K]` in fp32.
    pub fn fill(&mut self, pool: &mut Pool, rows: usize, make: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        self.rows = rows;
        self.bytes.reserve(rows * self.stride);
        self.scales.reserve(rows);
        self.sums.reserve(rows * self.groups());
        let per_part = rows.div_ceil(pool.threads() * 4).max(MIN_ROWS);
        let parts = rows.div_ceil(per_part);
        self.wide.reserve(parts * self.width);
        let (instructions, this) = (pool.instructions(), &*self);
        let groups = this.groups();
        let (bytes, wide) = (SharedMut(this.bytes.pointer()), SharedMut(this.wide.pointer()));
        let (scales, sums) = (SharedMut(this.scales.pointer()), SharedMut(this.sums.pointer()));
        pool.run(parts, &|part| {
            // SAFETY: each part has its own fp32 row, and each row its own bytes, scale and sums; all were made large enough above.
            unsafe {
                let wide = std::slice::from_raw_parts_mut(wide.get().add(part * this.width), this.width);
                for row in part * per_part..rows.min((part + 1) * per_part) {
                    make(row, wide);
                    let start = bytes.get().add(row * this.stride);
                    match this.format {
                        WeightFormat::Fp32 => {
                            std::slice::from_raw_parts_mut(start.cast::<f32>(), this.width)
                                .copy_from_slice(wide);
                        }
                        WeightFormat::Bf16 => {
                            narrow(
                                instructions,
                                wide,
                                std::slice::from_raw_parts_mut(start.cast(), this.width),
                            );
                        }
                        WeightFormat::Int8 | WeightFormat::Int4 => {
                            let sums = std::slice::from_raw_parts_mut(sums.get().add(row * groups), groups);
                            let bytes = std::slice::from_raw_parts_mut(start.cast(), this.width);
                            quantize(instructions, wide, bytes, &mut *scales.get().add(row), sums);
                        }
                    }
                }
            }
        });
    }
}

by_instructions! {
    fn narrow(instructions, wide: &[f32], out: &mut [u16]) {
        for (out, x) in out.iter_mut().zip(wide) {
            *out = to_bf16(*x);
        }
    }
}

by_instructions! {
    fn quantize(instructions, wide: &[f32], out: &mut [i8], scale: &mut f32, sums: &mut [i32]) {
        const ROUND: f32 = 12_582_912.0;
        let (mut lanes, mut poison) = ([0.0f32; 16], [0.0f32; 16]);
        let whole = wide.chunks_exact(16);
        for (lane, x) in whole.remainder().iter().enumerate() {
            lanes[lane] = x.abs();
            poison[lane] = x * 0.0;
        }
        for sixteen in whole {
            for lane in 0..16 {
                let size = sixteen[lane].abs();
                lanes[lane] = if size > lanes[lane] { size } else { lanes[lane] };
                poison[lane] += sixteen[lane] * 0.0;
            }
        }
        let most = lanes.iter().fold(0.0f32, |most, x| most.max(*x));
        // A number that is none, or infinite, makes the whole row one that is none.
        *scale = most / 127.0 + poison.iter().sum::<f32>();
        let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
        for (out, x) in out.iter_mut().zip(wide) {
            let rounded = x.mul_add(inverse, ROUND).to_bits().wrapping_sub(ROUND.to_bits());
            *out = rounded as i8;
        }
        for (sum, group) in sums.iter_mut().zip(out.chunks(GROUP)) {
            *sum = 8 * group.iter().map(|x| i32::from(*x)).sum::<i32>();
        }
    }
}
