//! Panels in int8 and int4 by AVX2. Its product of bytes adds pairs in 16 bits; with the sign moved from rows to weights a pair is at most
//! 2 · 127 · 127 and fits.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_abs_epi8, _mm256_add_epi32, _mm256_and_si256, _mm256_castsi256_ps,
    _mm256_cvtepi32_ps, _mm256_cvtepu16_epi32, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_sign_epi8, _mm256_slli_epi32, _mm256_srli_epi16, _mm256_storeu_ps,
    _mm256_storeu_si256, _mm256_sub_epi32,
};

use super::matrix::{COLUMNS, GROUP, GROUP_BYTES};
use super::product::{Panel, Sums};

/// Outputs of a register.
const LANES: usize = 8;

/// The sums of a panel in int8, as bits.
///
/// # Safety
/// The machine has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn int8(panel: &Panel, sums: &mut Sums) {
    for row in 0..panel.count {
        let mut held = [_mm256_setzero_si256(); COLUMNS / LANES];
        for step in 0..panel.steps {
            for quad in 0..16 {
                // SAFETY: a step of a panel has two tiles of 16 lines of 64 bytes, and its rows 16 quads of inputs.
                unsafe {
                    let x = _mm256_set1_epi32(panel.row::<i32>(row).add(step * 16 + quad).read());
                    let size = _mm256_abs_epi8(x);
                    let line = panel.weights.add(step * 2048 + quad * 64);
                    for (eight, held) in held.iter_mut().enumerate() {
                        let weights = load(line.add(eight / 2 * 1024 + eight % 2 * 32));
                        let pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(weights, x));
                        *held = _mm256_add_epi32(*held, quads(pairs));
                    }
                }
            }
        }
        for (eight, held) in held.iter().enumerate() {
            let out = sums.0[row][eight * LANES..][..LANES].as_mut_ptr();
            // SAFETY: eight numbers lie there.
            unsafe { _mm256_storeu_si256(out.cast(), *held) };
        }
    }
}

/// The sums of a panel in int4.
///
/// # Safety
/// The machine has AVX2 with FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn int4(panel: &Panel, sums: &mut Sums) {
    let low = _mm256_set1_epi8(15);
    for row in 0..panel.count {
        sums.0[row] = [0.0; COLUMNS];
        for group in 0..panel.steps {
            // SAFETY: a panel has a block for each group, and its rows 8 quads of inputs and a sum.
            unsafe {
                let block = panel.weights.add(group * GROUP_BYTES);
                let x = panel.row::<i32>(row).add(group * GROUP / 4);
                let offset = _mm256_set1_epi32(*panel.offsets.add(row * panel.steps + group));
                for eight in 0..COLUMNS / LANES {
                    let mut whole = _mm256_setzero_si256();
                    for quad in 0..4 {
                        let both =
                            load(block.add(2 * COLUMNS + eight / 2 * 256 + quad * 64 + eight % 2 * 32));
                        let early = _mm256_and_si256(both, low);
                        let late = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low);
                        // Weights up to 15 by rows up to 127: a pair fits in 16 bits.
                        for (weights, x) in [(early, x.add(quad)), (late, x.add(quad + 4))] {
                            let pairs = _mm256_maddubs_epi16(weights, _mm256_set1_epi32(x.read()));
                            whole = _mm256_add_epi32(whole, quads(pairs));
                        }
                    }
                    let bits = _mm_loadu_si128(block.add(eight * LANES * 2).cast());
                    let scale = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits)));
                    let product = _mm256_cvtepi32_ps(_mm256_sub_epi32(whole, offset));
                    let sum = sums.0[row].as_mut_ptr().add(eight * LANES);
                    _mm256_storeu_ps(sum, _mm256_fmadd_ps(product, scale, _mm256_loadu_ps(sum)));
                }
            }
        }
    }
}

/// Sums of pairs of sums of pairs.
#[target_feature(enable = "avx2")]
fn quads(pairs: __m256i) -> __m256i {
    _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
}

#[target_feature(enable = "avx2")]
unsafe fn load(at: *const u8) -> __m256i {
    // SAFETY: the caller has 32 bytes there.
    unsafe { _mm256_loadu_si256(at.cast()) }
}
