//! Panels by AVX-512: bf16 by its products of pairs, int8 and int4 by those of quads (VNNI).
//!
//! VNNI multiplies bytes without a sign by bytes with one. In int8 128 is added to the rows, and the product of 128 with the weights taken off
//! again; int4's weights have no sign.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_and_si512, _mm512_castsi512_ps,
    _mm512_cvtepi32_ps, _mm512_dpbf16_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_si512,
    _mm512_set1_epi8, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_srli_epi16,
    _mm512_storeu_ps, _mm512_sub_epi32, _mm512_xor_si512,
};

use super::matrix::{COLUMNS, GROUP, GROUP_BYTES, HALF};
use super::product::{Panel, Sums};
use super::tiles::scales;

/// Bytes that are fetched ahead of the weights that are read.
const AHEAD: usize = 4096;

/// Runs a kernel over four rows at a time, then two, then one.
macro_rules! by_rows {
    ($panel:ident, $sums:ident, $kernel:ident) => {
        let mut row = 0;
        while row < $panel.count {
            // SAFETY: the rows are the panel's, and the caller's machine has the instructions.
            row += unsafe {
                match $panel.count - row {
                    4.. => $kernel::<4>($panel, row, $sums),
                    2.. => $kernel::<2>($panel, row, $sums),
                    _ => $kernel::<1>($panel, row, $sums),
                }
            };
        }
    };
}

/// The sums of a panel in bf16.
///
/// # Safety
/// The machine has AVX-512 with bf16.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn bf16(panel: &Panel, sums: &mut Sums) {
    by_rows!(panel, sums, bf16_rows);
}

#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn bf16_rows<const ROWS: usize>(panel: &Panel, first: usize, sums: &mut Sums) -> usize {
    let mut held = [[_mm512_setzero_ps(); 2]; ROWS];
    for step in 0..panel.steps {
        for pair in 0..16 {
            // SAFETY: a step of a panel has two tiles of 16 lines of 64 bytes, and its rows 16 pairs of inputs.
            unsafe {
                let line = panel.weights.add(step * 2048 + pair * 64);
                let weights = [load(line), load(line.add(1024))];
                for row in 0..ROWS {
                    let x = _mm512_set1_epi32(panel.row::<i32>(first + row).add(step * 16 + pair).read());
                    for half in 0..2 {
                        let (x, weights) = (pairs(x), pairs(weights[half]));
                        held[row][half] = _mm512_dpbf16_ps(held[row][half], x, weights);
                    }
                }
            }
        }
    }
    store(&held, first, sums)
}

/// The sums of a panel in int8, as bits.
///
/// # Safety
/// The machine has AVX-512 with VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn int8(panel: &Panel, sums: &mut Sums) {
    by_rows!(panel, sums, int8_rows);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn int8_rows<const ROWS: usize>(panel: &Panel, first: usize, sums: &mut Sums) -> usize {
    let mut held = [[_mm512_setzero_si512(); 2]; ROWS];
    let flip = _mm512_set1_epi8(i8::MIN);
    for step in 0..panel.steps {
        for quad in 0..16 {
            // SAFETY: a step of a panel has two tiles of 16 lines of 64 bytes, and its rows 16 quads of inputs.
            unsafe {
                let line = panel.weights.add(step * 2048 + quad * 64);
                let weights = [load(line), load(line.add(1024))];
                for row in 0..ROWS {
                    let x = _mm512_set1_epi32(panel.row::<i32>(first + row).add(step * 16 + quad).read());
                    let x = _mm512_xor_si512(x, flip);
                    for half in 0..2 {
                        held[row][half] = _mm512_dpbusd_epi32(held[row][half], x, weights[half]);
                    }
                }
            }
        }
    }
    let mut whole = [[_mm512_setzero_ps(); 2]; ROWS];
    for row in 0..ROWS {
        for half in 0..2 {
            // SAFETY: a panel has 32 offsets.
            let offset = unsafe { load(panel.offsets.add(half * HALF).cast()) };
            whole[row][half] = _mm512_castsi512_ps(_mm512_sub_epi32(held[row][half], offset));
        }
    }
    store(&whole, first, sums)
}

/// The sums of a panel in int4.
///
/// # Safety
/// The machine has AVX-512 with VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,fma")]
pub(super) unsafe fn int4(panel: &Panel, sums: &mut Sums) {
    by_rows!(panel, sums, int4_rows);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,fma")]
unsafe fn int4_rows<const ROWS: usize>(panel: &Panel, first: usize, sums: &mut Sums) -> usize {
    let mut held = [[_mm512_setzero_ps(); 2]; ROWS];
    let low = _mm512_set1_epi8(15);
    for group in 0..panel.steps {
        // SAFETY: a panel has a block for each group, and its rows 8 quads of inputs and a sum.
        unsafe {
            let block = panel.weights.add(group * GROUP_BYTES);
            let mut whole = [[_mm512_setzero_si512(); 2]; ROWS];
            for half in 0..2 {
                for quad in 0..4 {
                    let line = block.add(2 * COLUMNS + half * 256 + quad * 64);
                    _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(AHEAD).cast());
                    let both = load(line);
                    let (early, late) =
                        (_mm512_and_si512(both, low), _mm512_and_si512(_mm512_srli_epi16::<4>(both), low));
                    for row in 0..ROWS {
                        let x = panel.row::<i32>(first + row).add(group * GROUP / 4 + quad);
                        let sum = _mm512_dpbusd_epi32(whole[row][half], early, _mm512_set1_epi32(x.read()));
                        whole[row][half] = _mm512_dpbusd_epi32(sum, late, _mm512_set1_epi32(x.add(4).read()));
                    }
                }
            }
            for half in 0..2 {
                let scale = scales(block.add(half * 2 * HALF));
                for row in 0..ROWS {
                    let offset = _mm512_set1_epi32(*panel.offsets.add((first + row) * panel.steps + group));
                    let product = _mm512_cvtepi32_ps(_mm512_sub_epi32(whole[row][half], offset));
                    held[row][half] = _mm512_fmadd_ps(product, scale, held[row][half]);
                }
            }
        }
    }
    store(&held, first, sums)
}

/// The bits as pairs of bf16.
fn pairs(bits: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits, and any bits are bf16.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(bits) }
}

#[target_feature(enable = "avx512f")]
unsafe fn load(at: *const u8) -> __m512i {
    // SAFETY: the caller has 64 bytes there.
    unsafe { _mm512_loadu_si512(at.cast()) }
}

#[target_feature(enable = "avx512f")]
fn store<const ROWS: usize>(held: &[[__m512; 2]; ROWS], first: usize, sums: &mut Sums) -> usize {
    for (row, halves) in held.iter().enumerate() {
        for (half, sum) in halves.iter().enumerate() {
            let out = sums.0[first + row][half * HALF..][..HALF].as_mut_ptr();
            // SAFETY: sixteen numbers lie there.
            unsafe { _mm512_storeu_ps(out, *sum) };
        }
    }
    ROWS
}
