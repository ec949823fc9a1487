//! Panels by AVX-512: bf16 by its products of pairs, int8 and int4 by those of quads (VNNI).
//!
//! On a machine with tiles these are for a few rows, where the time is that of reading the weights, and registers read them faster. For that
//! bf16 is there a second time, with the sums that a tile makes.
//!
//! VNNI multiplies bytes without a sign by bytes with one. In int8 128 is added to the rows, and the product of 128 with the weights taken off
//! again; int4's weights have no sign.

use std::arch::asm;
use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, _mm512_add_ps, _mm512_and_si512,
    _mm512_castsi512_ps, _mm512_cvtepi32_ps, _mm512_dpbf16_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_loadu_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_slli_epi32, _mm512_srli_epi16, _mm512_storeu_ps, _mm512_sub_epi32,
    _mm512_xor_si512,
};

use super::matrix::{COLUMNS, GROUP, GROUP_BYTES, HALF};
use super::product::{Panel, Sums};
use super::tiles::scales;

/// How far ahead of the weights that are read others are fetched: into the first cache, and into the second.
const AHEAD: usize = 2048;
const FAR_AHEAD: usize = 8192;

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

/// The sums of a panel in bf16, with the bits that tiles give: 32 inputs at a time, the even and the odd ones apart, each product fused with its
/// sum, and what is below the smallest normal number taken for 0.
///
/// # Safety
/// The machine has AVX-512.
pub(super) unsafe fn bf16_as_tiles(panel: &Panel, sums: &mut Sums) {
    /// Denormal inputs and results are 0.
    const FLUSH: u32 = 1 << 15 | 1 << 6;
    let mut before = 0u32;
    // SAFETY: the control word is put back below, and between the two stands one call that is not inlined; the rest is the caller's promise.
    unsafe {
        asm!("stmxcsr [{}]", in(reg) &raw mut before, options(nostack));
        let flushing = before | FLUSH;
        asm!("ldmxcsr [{}]", in(reg) &raw const flushing, options(nostack));
        bf16_flushing(panel, sums);
        asm!("ldmxcsr [{}]", in(reg) &raw const before, options(nostack));
    }
}

#[inline(never)]
#[target_feature(enable = "avx512f")]
unsafe fn bf16_flushing(panel: &Panel, sums: &mut Sums) {
    by_rows!(panel, sums, bf16_tile_rows);
}

#[target_feature(enable = "avx512f")]
unsafe fn bf16_tile_rows<const ROWS: usize>(panel: &Panel, first: usize, sums: &mut Sums) -> usize {
    let mut held = [[_mm512_setzero_ps(); 2]; ROWS];
    for step in 0..panel.steps {
        let ahead = ahead(panel, (panel.steps - step) * 2048);
        let mut x = [[[0.0f32; 16]; 2]; ROWS];
        for row in 0..ROWS {
            // SAFETY: a step of a row has 16 pairs of inputs, and the halves have sixteen places.
            unsafe {
                let (even, odd) = both(load(panel.row::<u8>(first + row).add(step * 64)));
                _mm512_storeu_ps(x[row][0].as_mut_ptr(), even);
                _mm512_storeu_ps(x[row][1].as_mut_ptr(), odd);
            }
        }
        let (mut even, mut odd) =
            (held.map(|_| [_mm512_setzero_ps(); 2]), held.map(|_| [_mm512_setzero_ps(); 2]));
        for pair in 0..16 {
            // SAFETY: a step of a panel has two tiles of 16 lines of 64 bytes.
            unsafe {
                let line = panel.weights.add(step * 2048 + pair * 64);
                let lines = [both(fetched(line, ahead)), both(fetched(line.add(1024), ahead))];
                for row in 0..ROWS {
                    let x = (_mm512_set1_ps(x[row][0][pair]), _mm512_set1_ps(x[row][1][pair]));
                    for half in 0..2 {
                        even[row][half] = _mm512_fmadd_ps(x.0, lines[half].0, even[row][half]);
                        odd[row][half] = _mm512_fmadd_ps(x.1, lines[half].1, odd[row][half]);
                    }
                }
            }
        }
        for row in 0..ROWS {
            for half in 0..2 {
                let sum = _mm512_add_ps(even[row][half], odd[row][half]);
                held[row][half] = _mm512_add_ps(held[row][half], sum);
            }
        }
    }
    store(&held, first, sums)
}

/// The even and the odd numbers of sixteen pairs of bf16.
#[target_feature(enable = "avx512f")]
fn both(pairs: __m512i) -> (__m512, __m512) {
    let high = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
    (_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(_mm512_and_si512(pairs, high)))
}

/// A line of weights; those that lie ahead of it are fetched.
#[target_feature(enable = "avx512f")]
unsafe fn fetched(at: *const u8, (near, far): (usize, usize)) -> __m512i {
    // SAFETY: the caller has 64 bytes there; what is fetched may lie anywhere.
    unsafe {
        _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(far).cast());
        _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(near).cast());
        load(at)
    }
}

/// How far ahead weights are fetched at a place of a panel: not beyond its end where another thread reads them.
fn ahead(panel: &Panel, left: usize) -> (usize, usize) {
    let bounded = |ahead: usize| if panel.is_followed || left > ahead { ahead } else { 0 };
    (bounded(AHEAD), bounded(FAR_AHEAD))
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
        let ahead = ahead(panel, (panel.steps - step) * 2048);
        for quad in 0..16 {
            // SAFETY: a step of a panel has two tiles of 16 lines of 64 bytes, and its rows 16 quads of inputs.
            unsafe {
                let line = panel.weights.add(step * 2048 + quad * 64);
                let weights = [fetched(line, ahead), fetched(line.add(1024), ahead)];
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
        let ahead = ahead(panel, (panel.steps - group) * GROUP_BYTES);
        // SAFETY: a panel has a block for each group, and its rows 8 quads of inputs and a sum.
        unsafe {
            let block = panel.weights.add(group * GROUP_BYTES);
            let mut whole = [[_mm512_setzero_si512(); 2]; ROWS];
            for half in 0..2 {
                for quad in 0..4 {
                    let line = block.add(2 * COLUMNS + half * 256 + quad * 64);
                    let bytes = fetched(line, ahead);
                    let (early, late) =
                        (_mm512_and_si512(bytes, low), _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low));
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
