//! Panels by the instructions of every processor, and by AVX2 and AVX-512 where the compiler makes use of them: fp32 in all sets, bf16 up to
//! AVX2. These are the references of the others.

use super::elementwise::of_bf16;
use super::instructions::by_instructions;
use super::matrix::{COLUMNS, GROUP, GROUP_BYTES, HALF};
use super::product::{Panel, Sums};

by_instructions! {
    /// The sums of a panel in fp32: one fused multiplication and addition an input, in the inputs' order.
    pub(super) fn fp32(instructions, panel: &Panel, sums: &mut Sums) {
        let mut row = 0;
        while row + 6 <= panel.count {
            fp32_rows::<6>(panel, row, sums);
            row += 6;
        }
        while row + 2 <= panel.count {
            fp32_rows::<2>(panel, row, sums);
            row += 2;
        }
        if row < panel.count {
            fp32_rows::<1>(panel, row, sums);
        }
    }
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
fn fp32_rows<const ROWS: usize>(panel: &Panel, first: usize, sums: &mut Sums) {
    let mut held = [[0.0f32; COLUMNS]; ROWS];
    for k in 0..panel.steps {
        // SAFETY: a panel has 32 weights for each of its inputs.
        let weights = unsafe { &*panel.weights.cast::<[f32; COLUMNS]>().add(k) };
        for row in 0..ROWS {
            // SAFETY: the panel's rows have as many inputs.
            let x = unsafe { *panel.row::<f32>(first + row).add(k) };
            for column in 0..COLUMNS {
                held[row][column] = x.mul_add(weights[column], held[row][column]);
            }
        }
    }
    sums.0[first..first + ROWS].copy_from_slice(&held);
}

by_instructions! {
    /// The sums of a panel in bf16: products and sums in fp32, one fused multiplication and addition an input, in the inputs' order.
    pub(super) fn bf16(instructions, panel: &Panel, sums: &mut Sums) {
        for row in 0..panel.count {
            let mut held = [[0.0f32; HALF]; 2];
            for step in 0..panel.steps {
                for pair in 0..16 {
                    // SAFETY: a step of a panel has two tiles of 16 lines of 32 weights, and its rows 32 inputs.
                    let (lines, x) = unsafe {
                        let tile = panel.weights.cast::<[u32; HALF]>().add(step * 32 + pair);
                        ([&*tile, &*tile.add(16)], *panel.row::<[u16; 2]>(row).add(step * 16 + pair))
                    };
                    let (x, y) = (of_bf16(x[0]), of_bf16(x[1]));
                    for half in 0..2 {
                        for lane in 0..HALF {
                            let bits = lines[half][lane];
                            let sum = x.mul_add(f32::from_bits(bits << 16), held[half][lane]);
                            held[half][lane] = y.mul_add(f32::from_bits(bits & 0xffff_0000), sum);
                        }
                    }
                }
            }
            sums.0[row][..HALF].copy_from_slice(&held[0]);
            sums.0[row][HALF..].copy_from_slice(&held[1]);
        }
    }
}

/// The sums of a panel in int8: whole numbers, as bits.
pub(super) fn int8(panel: &Panel, sums: &mut Sums) {
    for row in 0..panel.count {
        let mut held = [0i32; COLUMNS];
        for (column, held) in held.iter_mut().enumerate() {
            for k in 0..panel.steps * 64 {
                let at = (k / 64 * 2 + column / HALF) * 1024 + k % 64 / 4 * 64 + column % HALF * 4 + k % 4;
                // SAFETY: a step of a panel has two tiles of 1,024 weights, and its rows 64 inputs.
                let (x, weight) =
                    unsafe { (*panel.row::<i8>(row).add(k), *panel.weights.cast::<i8>().add(at)) };
                *held += i32::from(x) * i32::from(weight);
            }
        }
        sums.0[row] = held.map(|sum| f32::from_bits(sum as u32));
    }
}

/// The sums of a panel in int4: a group's product is whole numbers, and its scale is applied before the next one is added.
pub(super) fn int4(panel: &Panel, sums: &mut Sums) {
    for row in 0..panel.count {
        let mut held = [0.0f32; COLUMNS];
        for (column, held) in held.iter_mut().enumerate() {
            for group in 0..panel.steps {
                let mut whole = 0;
                // SAFETY: a panel has a block for each group, and its rows 32 inputs and a sum.
                unsafe {
                    let block = panel.weights.add(group * GROUP_BYTES);
                    for k in 0..GROUP {
                        let at =
                            2 * COLUMNS + column / HALF * 256 + k % 16 / 4 * 64 + column % HALF * 4 + k % 4;
                        let both = *block.add(at);
                        let weight = if k < 16 { both & 15 } else { both >> 4 };
                        whole += i32::from(*panel.row::<i8>(row).add(group * GROUP + k)) * i32::from(weight);
                    }
                    let offset = *panel.offsets.add(row * panel.steps + group);
                    let scale = of_bf16(*block.cast::<u16>().add(column));
                    *held = ((whole - offset) as f32).mul_add(scale, *held);
                }
            }
        }
        sums.0[row] = held;
    }
}
