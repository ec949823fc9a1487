//! Norms, activations and number formats, in fp32, a row at a time.
//!
//! Each sum has sixteen lanes that are added up in one fixed order, and each product with a sum is one fused operation, so that every set of
//! instructions gives the same bits.

use super::Instructions;
use super::instructions::by_instructions;

const LANES: usize = 16;

/// bf16 of a number, to nearest, ties to even.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
pub(crate) fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // A NaN must not become infinite.
    let nan = bits >> 16 | 0x40;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { nan } else { rounded }) as u16
}

/// The number of a bf16.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
pub(crate) fn of_bf16(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// eˣ within 2 units of the last place; 0 below -87.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it rounds to a whole number
    let bounded = if x > 88.0 { 88.0 } else { x };
    let bounded = if bounded < -87.0 { -87.0 } else { bounded };
    let shifted = bounded.mul_add(std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let rest = whole.mul_add(-0.693_359_4, bounded);
    let rest = whole.mul_add(2.121_944_4e-4, rest);
    // Taylor's coefficients, the last ones bent to the interval of ±ln 2 / 2.
    let p = 1.987_569_1e-4_f32;
    let p = p.mul_add(rest, 1.398_2e-3);
    let p = p.mul_add(rest, 8.333_452e-3);
    let p = p.mul_add(rest, 4.166_579_6e-2);
    let p = p.mul_add(rest, 1.666_666_5e-1);
    let p = p.mul_add(rest, 0.5);
    let p = (p * rest).mul_add(rest, rest) + 1.0;
    let power = f32::from_bits((shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23);
    let result = p * power;
    let result = if x < -87.0 { 0.0 } else { result };
    // A NaN stays one.
    if x.is_nan() { x } else { result }
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
fn tanh(x: f32) -> f32 {
    let grown = exp(2.0 * x.abs());
    let size = 1.0 - 2.0 / (grown + 1.0);
    // Near zero the difference above cancels.
    let square = x * x;
    let p = square.mul_add(-5.396_825_4e-2, 1.333_333_3e-1);
    let p = square.mul_add(p, -3.333_333_3e-1);
    let small = (x * square).mul_add(p, x);
    if x.abs() < 0.1 { small } else { size.copysign(x) }
}

/// What a feed-forward network does to its inner width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// silu(gate) · up.
    SwiGlu,
    /// max(x, 0)².
    Relu2,
    /// GELU in its tanh form.
    GeluTanh,
}

impl Activation {
    /// Of one number without a gate.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
    pub(crate) fn of(self, x: f32) -> f32 {
        match self {
            Self::SwiGlu => x * sigmoid(x),
            Self::Relu2 => {
                let kept = if x > 0.0 { x } else { 0.0 };
                kept * kept
            }
            Self::GeluTanh => {
                let inner = (0.044_715 * x * x).mul_add(x, x) * 0.797_884_6;
                0.5 * x * (1.0 + tanh(inner))
            }
        }
    }
}

/// The sum of sixteen lanes, in one order.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
pub(crate) fn sum_of(lanes: &[f32; LANES]) -> f32 {
    let mut sums = *lanes;
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
    }
    sums[0]
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
fn lane_sum(x: &[f32], add: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let whole = x.chunks_exact(LANES);
    let rest = whole.remainder();
    for sixteen in whole {
        for lane in 0..LANES {
            lanes[lane] = add(sixteen[lane], lanes[lane]);
        }
    }
    for (lane, x) in rest.iter().enumerate() {
        lanes[lane] = add(*x, lanes[lane]);
    }
    sum_of(&lanes)
}

by_instructions! {
    fn rms(instructions, x: &[f32], gain: Option<&[f32]>, eps: f32, out: &mut [f32]) {
        let scale = 1.0 / (lane_sum(x, |x, sum| x.mul_add(x, sum)) / x.len() as f32 + eps).sqrt();
        match gain {
            Some(gain) => {
                for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
                    *out = x * scale * gain;
                }
            }
            None => {
                for (out, x) in out.iter_mut().zip(x) {
                    *out = x * scale;
                }
            }
        }
    }
}

by_instructions! {
    fn layer(instructions, x: &[f32], gain: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        let count = x.len() as f32;
        let mean = lane_sum(x, |x, sum| x + sum) / count;
        let variance = lane_sum(x, |x, sum| (x - mean).mul_add(x - mean, sum)) / count;
        let scale = 1.0 / (variance + eps).sqrt();
        for (((out, x), gain), bias) in out.iter_mut().zip(x).zip(gain).zip(bias) {
            *out = ((x - mean) * scale).mul_add(*gain, *bias);
        }
    }
}

by_instructions! {
    fn turn(instructions, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        let (low, high) = head.split_at_mut(cos.len());
        for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            let (x, y) = (*low, *high);
            *low = x * cos - y * sin;
            *high = y * cos + x * sin;
        }
    }
}

by_instructions! {
    fn product(instructions, x: &[f32], y: &[f32], out: &mut f32) {
        let mut lanes = [0.0; LANES];
        let (left, right) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
        let rest = left.remainder().iter().zip(right.remainder());
        for (x, y) in left.zip(right) {
            for lane in 0..LANES {
                lanes[lane] = x[lane].mul_add(y[lane], lanes[lane]);
            }
        }
        for (lane, (x, y)) in rest.enumerate() {
            lanes[lane] = x.mul_add(*y, lanes[lane]);
        }
        *out = sum_of(&lanes);
    }
}

/// The product of two rows of one length.
pub(super) fn dot(instructions: Instructions, x: &[f32], y: &[f32]) -> f32 {
    let mut sum = 0.0;
    product(instructions, x, y, &mut sum);
    sum
}

/// RMS norm of a row `x [C]`, with a gain or without, into `out [C]`.
pub fn rms_norm(instructions: Instructions, x: &[f32], gain: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    rms(instructions, x, gain, eps, out);
}

/// Layer norm of a row `x [C]` into `out [C]`.
pub fn layer_norm(
    instructions: Instructions,
    x: &[f32],
    (gain, bias): (&[f32], &[f32]),
    eps: f32,
    out: &mut [f32],
) {
    layer(instructions, x, gain, bias, eps, out);
}

/// Turns a head `[D]` by the angles of its position: `cos` and `sin` `[D/2]`, of the pairs (i, i + D/2).
pub fn rotate(instructions: Instructions, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    turn(instructions, head, cos, sin);
}

/// 2·σ of the product of a row and a gate's weights.
pub fn gate(x: &[f32], weights: &[f32]) -> f32 {
    let product: f32 = x.iter().zip(weights).map(|(x, w)| x * w).sum();
    2.0 * sigmoid(product)
}

by_instructions! {
    /// Squeezes logits into ± `cap`.
    pub fn softcap(instructions, logits: &mut [f32], cap: f32) {
        for x in logits {
            *x = tanh(*x / cap) * cap;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|i| ((i as f32 * 12.9898).sin() * 437.585).sin() * scale).collect()
    }

    #[test]
    fn exponentials_are_those_of_the_standard_library() {
        let far = |got: f64, wanted: f64| (got - wanted).abs() / wanted.abs().max(1e-30);
        let (mut of_exp, mut of_tanh) = (0.0f64, 0.0f64);
        for i in -8_600..8_700 {
            let x = i as f32 * 0.01;
            of_exp = of_exp.max(far(f64::from(exp(x)), f64::from(x).exp()));
            let x = i as f32 * 0.001;
            if i != 0 {
                of_tanh = of_tanh.max(far(f64::from(tanh(x)), f64::from(x).tanh()));
            }
        }
        println!("exp {of_exp:.1e}, tanh {of_tanh:.1e}");
        assert!(of_exp < 2.5e-7 && of_tanh < 1.5e-6, "exp {of_exp:e}, tanh {of_tanh:e}");
        assert_eq!(exp(f32::NEG_INFINITY).to_bits(), 0);
        assert_eq!(exp(0.0).to_bits(), 1.0f32.to_bits());
        assert!(exp(f32::NAN).is_nan() && exp(1e9).is_finite());
    }

    #[test]
    fn bf16_rounds_to_even_and_keeps_what_is_not_a_number() {
        let cases = [
            (1.0, 0x3f80),
            (1.003_906_3, 0x3f80),
            (1.011_718_8, 0x3f82),
            (-2.5, 0xc020),
            (f32::INFINITY, 0x7f80),
        ];
        for (x, bits) in cases {
            assert_eq!(to_bf16(x), bits, "{x}");
        }
        assert!(of_bf16(to_bf16(f32::NAN)).is_nan());
        assert!(of_bf16(to_bf16(f32::from_bits(0x7fff_ffff))).is_nan());
    }

    #[test]
    fn norms_equal_their_definitions_and_every_set_has_the_same_bits() {
        for width in [1, 15, 16, 48, 768, 771] {
            let (x, gain, bias) = (wave(width, 3.0), wave(width, 1.5), wave(width, 0.7));
            let wide: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            let count = width as f64;
            let mean = wide.iter().sum::<f64>() / count;
            let square = wide.iter().map(|x| x * x).sum::<f64>() / count;
            let variance = wide.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            let mut all = Vec::new();
            for instructions in Instructions::ALL.into_iter().filter(|set| set.is_available()) {
                let (mut by_rms, mut by_layer) = (vec![0.0; width], vec![0.0; width]);
                rms_norm(instructions, &x, Some(&gain), 1e-5, &mut by_rms);
                layer_norm(instructions, &x, (&gain, &bias), 1e-5, &mut by_layer);
                for i in 0..width {
                    let g = f64::from(gain[i]);
                    let wanted = wide[i] / (square + 1e-5).sqrt() * g;
                    assert!((f64::from(by_rms[i]) - wanted).abs() < 1e-5, "{width}: {} {wanted}", by_rms[i]);
                    let wanted = (wide[i] - mean) / (variance + 1e-5).sqrt() * g + f64::from(bias[i]);
                    assert!(
                        (f64::from(by_layer[i]) - wanted).abs() < 1e-5,
                        "{width}: {} {wanted}",
                        by_layer[i]
                    );
                }
                all.push((by_rms, by_layer));
            }
            assert!(all.iter().all(|found| *found == all[0]), "width {width}");
        }
    }
}
