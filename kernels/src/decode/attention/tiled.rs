//! Up to sixteen queries at once, by the tiles of AMX.
//!
//! A tile's rows do not meet, so that a query has the bits that it has alone. Blocks that one of the queries does not see count for nothing there.
//! Tiles 0 and 1 are scores, 2 and 3 sums, 4 queries, 5 shares, 6 and 7 keys or values.

use std::arch::asm;
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use std::mem::MaybeUninit;

use super::super::elementwise::to_bf16;
use super::mix::{Running, Scores, scale_of, within};
use super::{BLOCK_TOKENS, MOST_DIM, MOST_QUERIES, Queries};

#[repr(C, align(64))]
struct Lines<T>(T);

type AllScores = Lines<[Scores; MOST_QUERIES]>;
type AllShares = Lines<[[u16; BLOCK_TOKENS]; MOST_QUERIES]>;

/// What the queries mix.
///
/// # Safety
/// The machine has AMX, its tiles are configured for as many rows as there are queries, and nobody else has them.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn mix(queries: &Queries<'_>) {
    let (store, count) = (queries.call.store, queries.count());
    let (padded, scale) = (store.padded, scale_of(store.sizes.dim));
    let mut narrow = MaybeUninit::<Lines<[u16; MOST_QUERIES * MOST_DIM]>>::uninit();
    let mut summed = MaybeUninit::<Lines<[f32; MOST_QUERIES * MOST_DIM]>>::uninit();
    let (narrow, summed) = (narrow.as_mut_ptr().cast::<u16>(), summed.as_mut_ptr().cast::<f32>());
    // SAFETY: `padded` is at most the largest width of a head, and these rows are written before they are read.
    let (rows, sums) = unsafe {
        narrow.write_bytes(0, count * padded);
        summed.write_bytes(0, count * padded);
        (
            std::slice::from_raw_parts_mut(narrow, count * padded),
            std::slice::from_raw_parts_mut(summed, count * padded),
        )
    };
    for (at, row) in rows.chunks_exact_mut(padded).enumerate() {
        for (narrow, q) in row.iter_mut().zip(queries.query(at)) {
            *narrow = to_bf16(*q);
        }
    }
    let mut scores: AllScores = Lines([[0.0; BLOCK_TOKENS]; MOST_QUERIES]);
    let mut shares: AllShares = Lines([[0; BLOCK_TOKENS]; MOST_QUERIES]);
    let mut running = [Running::START; MOST_QUERIES];
    let (first, last) = (queries.sees(0).0 / BLOCK_TOKENS, queries.sees(count - 1).1 / BLOCK_TOKENS);
    for index in first..=last {
        let keys = queries.block(index).cast_const();
        // SAFETY: a head has two areas of 32 positions by `padded` dimensions, and the next block is there where there is one.
        let values = unsafe {
            if index < last && queries.places.len() == 1 {
                fetch(queries.block(index + 1), 4 * BLOCK_TOKENS * padded);
            }
            score(rows, padded, keys, &mut scores);
            keys.add(2 * BLOCK_TOKENS * padded)
        };
        for at in 0..count {
            let sees = queries.sees(at);
            if index < sees.0 / BLOCK_TOKENS || index > sees.1 / BLOCK_TOKENS {
                shares.0[at] = [0; BLOCK_TOKENS];
                continue;
            }
            let scores = &mut scores.0[at];
            for score in &mut *scores {
                *score *= scale;
            }
            let kept = running[at].soften::<false>(scores, within(index, sees));
            for (share, score) in shares.0[at].iter_mut().zip(scores) {
                *share = (score.to_bits() >> 16) as u16;
            }
            if kept.to_bits() != 1.0f32.to_bits() {
                sums[at * padded..][..padded].iter_mut().for_each(|sum| *sum *= kept);
            }
        }
        // SAFETY: as above.
        unsafe { add_values(&shares, padded, values, sums) };
    }
    for (at, sums) in sums.chunks_exact(padded).enumerate() {
        let inverse = 1.0 / running[at].total;
        // SAFETY: the caller has these queries to itself.
        let out = unsafe { queries.out(at) };
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum * inverse);
    }
}

/// Fetches what is read next.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
unsafe fn fetch(from: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        // SAFETY: a hint about memory that is there.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.add(line).cast()) };
    }
}

/// Queries times keys.
///
/// # Safety
/// The tiles are configured for the rows, which are of `padded` numbers; the keys have `padded / 2` lines of 32 pairs.
unsafe fn score(rows: &[u16], padded: usize, keys: *const u8, scores: &mut AllScores) {
    // SAFETY: each step reads 32 numbers of each row and 16 lines of keys; `scores` has 16 rows of 128 bytes.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1",
            "2:",
            "tileloadd tmm4, [{a} + {sa}*1]",
            "tileloadd tmm6, [{b} + {sb}*1]",
            "tileloadd tmm7, [{b} + {sb}*1 + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {a}, 64", "add {b}, 2048", "dec {n}", "jnz 2b",
            "tilestored [{c} + {sb}*1], tmm0",
            "tilestored [{c} + {sb}*1 + 64], tmm1",
            a = inout(reg) rows.as_ptr() => _, sa = in(reg) padded * 2,
            b = inout(reg) keys => _, sb = in(reg) 4 * BLOCK_TOKENS,
            n = inout(reg) padded / 32 => _, c = in(reg) scores.0.as_mut_ptr(),
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Adds shares times values to the sums.
///
/// # Safety
/// The tiles are configured for the rows of `sums`, which are of `padded` numbers; the values have 16 lines of `padded` pairs.
unsafe fn add_values(shares: &AllShares, padded: usize, values: *const u8, sums: &mut [f32]) {
    // SAFETY: each step reads and writes 32 numbers of each row of sums, and reads 32 pairs of each line of values.
    unsafe {
        asm!(
            "tileloadd tmm5, [{a} + {sa}*1]",
            "2:",
            "tileloadd tmm2, [{c} + {sb}*1]",
            "tileloadd tmm6, [{b} + {sb}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloadd tmm3, [{c} + {sb}*1 + 64]",
            "tileloadd tmm7, [{b} + {sb}*1 + 64]",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tilestored [{c} + {sb}*1], tmm2",
            "tilestored [{c} + {sb}*1 + 64], tmm3",
            "add {b}, 128", "add {c}, 128", "dec {n}", "jnz 2b",
            a = in(reg) shares.0.as_ptr(), sa = in(reg) 2 * BLOCK_TOKENS,
            b = inout(reg) values => _, sb = in(reg) padded * 4,
            n = inout(reg) padded / 32 => _, c = inout(reg) sums.as_mut_ptr() => _,
            out("tmm2") _, out("tmm3") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
