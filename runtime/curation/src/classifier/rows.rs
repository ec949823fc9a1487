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

/// Does the same for each lane, one line of code for each: of a loop over lanes compilers make gathers.
macro_rules! lanes {
    ($count:expr, $lane:ident => $body:expr) => {
        lanes!($count, $lane => $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($count:expr, $lane:ident => $body:expr, $($at:literal)*) => {
        $(if $at < $count {
            const $lane: usize = $at;
            $body;
        })*
    };
}

/// `sum += scale·row`.
///
/// Here and below by number: what `zip` is made of is not inlined across the compiler's units, and a call for each row costs more than the row.
#[inline(always)]
pub(super) fn add_scaled<const S: usize>(sum: &mut Row<S>, scale: f32, row: &Row<S>) {
    lanes!(S, LANE => add_lane(&mut sum[LANE].0, scale, &row[LANE].0));
}

#[inline(always)]
fn add_lane(sum: &mut [f32; WIDTH], scale: f32, row: &[f32; WIDTH]) {
    for at in 0..WIDTH {
        sum[at] += scale * row[at];
    }
}

/// `row · factor`.
#[inline(always)]
pub(super) fn scaled<const S: usize>(row: Row<S>, factor: f32) -> Row<S> {
    let mut out = zeros::<S>();
    add_scaled(&mut out, factor, &row);
    out
}

/// The dot product.
#[inline(always)]
pub(super) fn dot<const S: usize>(a: &Row<S>, b: &Row<S>) -> f32 {
    let mut sums = [0.0_f32; WIDTH];
    lanes!(S, LANE => multiply_lane(&mut sums, &a[LANE].0, &b[LANE].0));
    let mut half = WIDTH / 2;
    while half > 0 {
        for at in 0..half {
            sums[at] += sums[at + half];
        }
        half /= 2;
    }
    sums[0]
}

#[inline(always)]
fn multiply_lane(sums: &mut [f32; WIDTH], a: &[f32; WIDTH], b: &[f32; WIDTH]) {
    for at in 0..WIDTH {
        sums[at] += a[at] * b[at];
    }
}

/// A 64-bit finaliser (Stafford's mix 13): a stream of numbers that a position and a seed name.
pub(crate) fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
