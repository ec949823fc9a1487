//! Panels by the tiles of AMX: sixteen rows by sixteen outputs at once.
//!
//! A tile instruction does the same for each of its rows, however many it has, and sums over the inputs in their order; one row costs what
//! sixteen do, and for few rows the time is that of reading the weights. Tiles 0 to 3 are sums (0 and 1 of the first sixteen rows, 2 and 3 of
//! the others; each pair the halves of a panel), 4 and 5 rows, 6 and 7 weights.

use std::arch::asm;
use std::arch::x86_64::{
    __m512, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_si256, _mm512_and_si512, _mm512_castsi512_ps,
    _mm512_cvtepi32_ps, _mm512_cvtepu16_epi32, _mm512_fmadd_ps, _mm512_load_si512, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_slli_epi32, _mm512_srli_epi16,
    _mm512_store_si512, _mm512_storeu_ps, _mm512_sub_epi32,
};

use super::matrix::{COLUMNS, GROUP, GROUP_BYTES, HALF};
use super::product::{Panel, Sums};

/// Bytes that are fetched ahead of the weights that are read.
const AHEAD: usize = 4096;

#[repr(C, align(64))]
struct Config([u8; 64]);

/// What this thread's tiles are configured for; they are given back in the end.
#[derive(Debug, Default)]
pub(super) struct Configured(Option<((usize, usize), usize)>);

impl Configured {
    /// Tiles for `first` rows and `second` more, over `step` bytes of inputs.
    pub(super) fn set(&mut self, (first, second): (usize, usize), step: usize) {
        if self.0 != Some(((first, second), step)) {
            configure(first, second, step);
            self.0 = Some(((first, second), step));
        }
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        if self.0.is_some() {
            // SAFETY: AMX was detected, since tiles were configured; no tile is used across calls.
            unsafe { asm!("tilerelease", options(nostack, nomem)) };
        }
    }
}

fn configure(first: usize, second: usize, step: usize) {
    let mut config = Config([0; 64]);
    config.0[0] = 1;
    let rows = [first, first, second, second, first, second, step / 4, step / 4];
    let widths = [64, 64, 64, 64, step, step, 64, 64];
    for tile in 0..8 {
        // A tile without rows would be none at all; its sums are not read.
        config.0[48 + tile] = rows[tile].max(1) as u8;
        config.0[16 + 2 * tile] = widths[tile] as u8;
    }
    // SAFETY: AMX was detected and the kernel lets this process use it; palette 1 has 8 tiles of up to 16 rows of 64 bytes.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly)) };
}

/// Fetches the two tiles that lie [`AHEAD`] of those at `b`.
macro_rules! fetch {
    () => {
        concat!(
            "prefetcht0 [{b} + 4096]\n",
            "prefetcht0 [{b} + 4160]\n",
            "prefetcht0 [{b} + 4224]\n",
            "prefetcht0 [{b} + 4288]\n",
            "prefetcht0 [{b} + 4352]\n",
            "prefetcht0 [{b} + 4416]\n",
            "prefetcht0 [{b} + 4480]\n",
            "prefetcht0 [{b} + 4544]\n",
            "prefetcht0 [{b} + 4608]\n",
            "prefetcht0 [{b} + 4672]\n",
            "prefetcht0 [{b} + 4736]\n",
            "prefetcht0 [{b} + 4800]\n",
            "prefetcht0 [{b} + 4864]\n",
            "prefetcht0 [{b} + 4928]\n",
            "prefetcht0 [{b} + 4992]\n",
            "prefetcht0 [{b} + 5056]\n",
            "prefetcht0 [{b} + 5120]\n",
            "prefetcht0 [{b} + 5184]\n",
            "prefetcht0 [{b} + 5248]\n",
            "prefetcht0 [{b} + 5312]\n",
            "prefetcht0 [{b} + 5376]\n",
            "prefetcht0 [{b} + 5440]\n",
            "prefetcht0 [{b} + 5504]\n",
            "prefetcht0 [{b} + 5568]\n",
            "prefetcht0 [{b} + 5632]\n",
            "prefetcht0 [{b} + 5696]\n",
            "prefetcht0 [{b} + 5760]\n",
            "prefetcht0 [{b} + 5824]\n",
            "prefetcht0 [{b} + 5888]\n",
            "prefetcht0 [{b} + 5952]\n",
            "prefetcht0 [{b} + 6016]\n",
            "prefetcht0 [{b} + 6080]\n",
        )
    };
}

/// The loop over the steps of a panel, for up to sixteen rows or for more; with or without fetching ahead.
macro_rules! panel {
    ($name:ident, $dp:literal) => {
        /// The sums of a panel.
        ///
        /// # Safety
        /// The tiles are configured for the panel's rows.
        pub(super) unsafe fn $name(panel: &Panel, sums: &mut Sums) {
            let (rows, weights, out) = (panel.rows, panel.weights, sums.0.as_mut_ptr());
            let second = rows.wrapping_add(16 * panel.stride);
            // SAFETY: the panel holds what its counts say; `sums` has 32 rows of 128 bytes.
            unsafe {
                match (panel.count > 16, panel.is_fresh) {
                    (false, _) => asm!(
                        "tilezero tmm0", "tilezero tmm1",
                        "2:",
                        "tileloadd tmm4, [{a} + {sa}*1]",
                        "tileloadd tmm6, [{b} + {sb}*1]",
                        "tileloadd tmm7, [{b} + {sb}*1 + 1024]",
                        concat!($dp, " tmm0, tmm4, tmm6"),
                        concat!($dp, " tmm1, tmm4, tmm7"),
                        fetch!(),
                        "add {a}, 64", "add {b}, 2048", "dec {n}", "jnz 2b",
                        "tilestored [{c} + {sc}*1], tmm0",
                        "tilestored [{c} + {sc}*1 + 64], tmm1",
                        a = inout(reg) rows => _, b = inout(reg) weights => _, n = inout(reg) panel.steps => _,
                        sa = in(reg) panel.stride, sb = in(reg) 64usize, sc = in(reg) 128usize, c = in(reg) out,
                        out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                        options(nostack),
                    ),
                    (true, true) => panel!(@both $dp, panel, (rows, second, weights, out), fetch!()),
                    (true, false) => panel!(@both $dp, panel, (rows, second, weights, out), ""),
                }
            }
        }
    };
    (@both $dp:literal, $panel:ident, ($rows:ident, $second:ident, $weights:ident, $out:ident), $fetch:expr) => {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{a} + {sa}*1]",
            "tileloadd tmm6, [{b} + {sb}*1]",
            concat!($dp, " tmm0, tmm4, tmm6"),
            "tileloadd tmm7, [{b} + {sb}*1 + 1024]",
            concat!($dp, " tmm1, tmm4, tmm7"),
            "tileloadd tmm5, [{d} + {sa}*1]",
            concat!($dp, " tmm2, tmm5, tmm6"),
            concat!($dp, " tmm3, tmm5, tmm7"),
            $fetch,
            "add {a}, 64", "add {d}, 64", "add {b}, 2048", "dec {n}", "jnz 2b",
            "tilestored [{c} + {sc}*1], tmm0",
            "tilestored [{c} + {sc}*1 + 64], tmm1",
            "tilestored [{c} + {sc}*1 + 2048], tmm2",
            "tilestored [{c} + {sc}*1 + 2112], tmm3",
            a = inout(reg) $rows => _, d = inout(reg) $second => _, b = inout(reg) $weights => _,
            n = inout(reg) $panel.steps => _,
            sa = in(reg) $panel.stride, sb = in(reg) 64usize, sc = in(reg) 128usize, c = in(reg) $out,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

panel!(bf16, "tdpbf16ps");
panel!(int8, "tdpbssd");

/// A group's products of up to sixteen rows.
macro_rules! multiply {
    ($rows_tile:literal, $low:literal, $high:literal, $rows:expr, $stride:expr, $bytes:expr, $products:expr) => {
        asm!(
            concat!("tilezero ", $low), concat!("tilezero ", $high),
            "tileloadd tmm6, [{b} + {sb}*1]",
            "tileloadd tmm7, [{b} + {sb}*1 + 512]",
            concat!("tileloadd ", $rows_tile, ", [{a} + {sa}*1]"),
            concat!("tdpbsud ", $low, ", ", $rows_tile, ", tmm6"),
            concat!("tdpbsud ", $high, ", ", $rows_tile, ", tmm7"),
            concat!("tilestored [{c} + {sc}*1], ", $low),
            concat!("tilestored [{c} + {sc}*1 + 64], ", $high),
            a = in(reg) $rows, sa = in(reg) $stride, b = in(reg) $bytes.0.as_ptr(), sb = in(reg) 64usize,
            c = in(reg) $products.0.as_mut_ptr(), sc = in(reg) 128usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// Weights of a group, a byte each; and the sums of sixteen rows by a panel.
#[repr(C, align(64))]
struct Unpacked([u8; COLUMNS * GROUP]);
#[repr(C, align(64))]
struct Products([i32; 16 * COLUMNS]);

/// The sums of a panel in int4: a group's product is whole numbers, and its scale is applied before the next one is added.
///
/// # Safety
/// The tiles are configured for the panel's rows and steps of 32 bytes; the machine has AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma")]
pub(super) unsafe fn int4(panel: &Panel, sums: &mut Sums) {
    let mut bytes = Unpacked([0; COLUMNS * GROUP]);
    let mut products = Products([0; 16 * COLUMNS]);
    sums.0[..panel.count].fill([0.0; COLUMNS]);
    for group in 0..panel.steps {
        // SAFETY: the panel holds what its counts say; each pointer stays within it and within the buffers above.
        unsafe {
            let block = panel.weights.add(group * GROUP_BYTES);
            unpack(block, &mut bytes);
            let scales = [scales(block), scales(block.add(2 * HALF))];
            for first in (0..panel.count).step_by(16) {
                let rows = panel.rows.add(first * panel.stride + group * GROUP);
                if first == 0 {
                    multiply!("tmm4", "tmm0", "tmm1", rows, panel.stride, bytes, products);
                } else {
                    multiply!("tmm5", "tmm2", "tmm3", rows, panel.stride, bytes, products);
                }
                for row in first..panel.count.min(first + 16) {
                    let offset = _mm512_set1_epi32(*panel.offsets.add(row * panel.steps + group));
                    for (half, scale) in scales.iter().enumerate() {
                        let product = products.0.as_ptr().add((row - first) * COLUMNS + half * HALF);
                        let whole = _mm512_sub_epi32(_mm512_load_si512(product.cast()), offset);
                        let sum = sums.0[row].as_mut_ptr().add(half * HALF);
                        let added = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), *scale, _mm512_loadu_ps(sum));
                        _mm512_storeu_ps(sum, added);
                    }
                }
            }
        }
    }
}

/// Sixteen scales of a group.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn scales(at: *const u8) -> __m512 {
    // SAFETY: the caller's block begins with 32 scales.
    let bits = unsafe { _mm256_loadu_si256(at.cast()) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
}

/// A byte for each weight of a group, in the order of tiles.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn unpack(block: *const u8, bytes: &mut Unpacked) {
    let low = _mm512_set1_epi8(15);
    for line in 0..8 {
        let (half, quad) = (line / 4, line % 4);
        let out = bytes.0.as_mut_ptr().wrapping_add(half * HALF * GROUP + quad * 64);
        // SAFETY: a block has eight lines behind its scales, and the buffer two of bytes for each.
        unsafe {
            let at = block.add(2 * COLUMNS + line * 64);
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
            let both = _mm512_loadu_si512(at.cast());
            _mm512_store_si512(out.cast(), _mm512_and_si512(both, low));
            let high = _mm512_and_si512(_mm512_srli_epi16::<4>(both), low);
            _mm512_store_si512(out.add(4 * 64).cast(), high);
        }
    }
}
