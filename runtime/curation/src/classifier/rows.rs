//! Rows of numbers, each on cache lines of its own, and what is done with them.
//!
//! Sums run over sixteen lanes that are added in a fixed tree at the end, so that the result is the same whatever the width of the machine's registers.
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
#[inline(always)]
pub(super) fn add_scaled<const S: usize>(sum: &mut Row<S>, scale: f32, row: &Row<S>) {
    for (sum, row) in sum.iter_mut().zip(row) {
        for (sum, value) in sum.0.iter_mut().zip(&row.0) {
            *sum += scale * value;
        }
    }
}

/// `row · factor`.
#[inline(always)]
pub(super) fn scaled<const S: usize>(mut row: Row<S>, factor: f32) -> Row<S> {
    for lane in &mut row {
        for value in &mut lane.0 {
            *value *= factor;
        }
    }
    row
}

/// The dot product.
#[inline(always)]
pub(super) fn dot<const S: usize>(a: &Row<S>, b: &Row<S>) -> f32 {
    let mut sums = [0.0_f32; WIDTH];
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.0.iter().zip(&b.0)) {
            *sum += a * b;
        }
    }
    for half in [8, 4, 2, 1] {
        for at in 0..half {
            sums[at] += sums[at + half];
        }
    }
    sums[0]
}

/// A 64-bit finaliser (Stafford's mix 13): a stream of numbers that a position and a seed name.
pub(crate) fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
