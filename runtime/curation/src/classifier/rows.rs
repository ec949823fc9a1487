//! Rows of numbers, each on cache lines of its own, and what is done with them.
//!
//! Sums run over sixteen lanes that are added in a fixed tree at the end, so that the result is the same whatever the width of the machine's registers.
#![allow(clippy::needless_range_loop, reason = "see `add_scaled`")]
#![allow(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the wide registers of `widest`"
)]

/// Sixteen numbers: one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Lane(pub(super) [f32; WIDTH]);

/// Numbers of a [`Lane`].
pub(super) const WIDTH: usize = 16;

/// A row of `S` lanes; what stands behind `dim` is 0.
pub(super) type Row<const S: usize> = [Lane; S];

/// A row of zeros.
pub(super) const fn zeros<const S: usize>() -> Row<S> {
    [Lane([0.0; WIDTH]); S]
}

/// Runs numeric work with the widest registers of the machine. The results are the same with any.
///
/// What `call` does must be inlined into it, all the way down; a closure is not.
pub(super) fn widest<W: pulp::NullaryFnOnce>(work: W) -> W::Output {
    pulp::Arch::new().dispatch(work)
}

/// `sum += scale·row`.
///
/// Here and below by number: what `zip` is made of is not inlined across the compiler's units, and a call for each row costs more than the row.
#[inline(always)]
pub(super) fn add_scaled<const S: usize>(sum: &mut Row<S>, scale: f32, row: &Row<S>) {
    for lane in 0..S {
        for at in 0..WIDTH {
            sum[lane].0[at] += scale * row[lane].0[at];
        }
    }
}

/// `row · factor`.
#[inline(always)]
pub(super) fn scaled<const S: usize>(mut row: Row<S>, factor: f32) -> Row<S> {
    for lane in 0..S {
        for at in 0..WIDTH {
            row[lane].0[at] *= factor;
        }
    }
    row
}

/// The dot product.
#[inline(always)]
pub(super) fn dot<const S: usize>(a: &Row<S>, b: &Row<S>) -> f32 {
    let mut sums = [0.0_f32; WIDTH];
    for lane in 0..S {
        for at in 0..WIDTH {
            sums[at] += a[lane].0[at] * b[lane].0[at];
        }
    }
    let mut half = WIDTH / 2;
    while half > 0 {
        for at in 0..half {
            sums[at] += sums[at + half];
        }
        half /= 2;
    }
    sums[0]
}

/// A 64-bit finaliser (Stafford's mix 13): a stream of numbers that a position and a seed name.
pub(crate) fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
