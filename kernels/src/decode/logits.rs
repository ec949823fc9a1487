//! Passes over a vocabulary's logits: the largest one, and the sum of all weights.
//!
//! Every sum has one fixed order and the exponential is made of plain operations, none of them fused, so that every set of instructions gives the same bits.

use super::Instructions;
use super::instructions::by_instructions;

/// Sums that run side by side.
const LANES: usize = 16;

/// The exponential of a number that is at most 0, within two units of the last place; 0 below −87. The series is Cephes' (Moshier 1992).
#[inline(always)]
#[allow(clippy::inline_always, reason = "it takes the caller's instructions only where it is inlined")]
pub fn weight_of(x: f32) -> f32 {
    /// Adding it rounds to a whole number, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = x - whole * LN_2_HIGH - whole * LN_2_LOW;
    let mut series = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        series = series * rest + coefficient;
    }
    let value = series * rest * rest + rest + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { value * power }
}

/// The largest logit; none where one is NaN or infinitely likely, or all are impossible.
pub fn logit_peak(logits: &[f32]) -> Option<f32> {
    let mut found = None;
    find_peak(Instructions::best(), logits, &mut found);
    found
}

by_instructions! {
    fn find_peak(instructions, logits: &[f32], found: &mut Option<f32>) {
        let mut most = [f32::NEG_INFINITY; LANES];
        let mut is_bad = [0u32; LANES];
        let (chunks, rest) = logits.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                // Neither a NaN nor infinity is at most the largest number.
                is_bad[lane] |= u32::from(chunk[lane] <= f32::MAX) ^ 1;
                most[lane] = if chunk[lane] > most[lane] { chunk[lane] } else { most[lane] };
            }
        }
        for (lane, &logit) in rest.iter().enumerate() {
            is_bad[lane] |= u32::from(logit <= f32::MAX) ^ 1;
            most[lane] = if logit > most[lane] { logit } else { most[lane] };
        }
        let peak = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
        *found = (peak.is_finite() && is_bad == [0; LANES]).then_some(peak);
    }
}

/// The sum of all weights when logits are multiplied by `scale`, the likeliest token's weight being 1.
pub fn sum_of_weights(logits: &[f32], peak: f32, scale: f32) -> f64 {
    let mut sum = 0.0;
    add_weights(Instructions::best(), logits, peak, scale, &mut sum);
    sum
}

by_instructions! {
    fn add_weights(instructions, logits: &[f32], peak: f32, scale: f32, sum: &mut f64) {
        let mut sums = [0.0f64; LANES];
        let (chunks, rest) = logits.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                sums[lane] += f64::from(weight_of((chunk[lane] - peak) * scale));
            }
        }
        for (lane, &logit) in rest.iter().enumerate() {
            sums[lane] += f64::from(weight_of((logit - peak) * scale));
        }
        *sum = sums.iter().sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_within_two_units_of_the_last_place() {
        let mut worst = 0.0f64;
        for step in 0..2_000_000 {
            let x = -87.0 * step as f32 / 2_000_000.0;
            let expected = f64::from(x).exp();
            worst = worst.max((f64::from(weight_of(x)) - expected).abs() / expected);
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst:e}");
        assert_eq!((weight_of(0.0), weight_of(-88.0), weight_of(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
    }

    #[test]
    fn every_set_of_instructions_gives_the_same_bits() {
        let logits: Vec<f32> =
            (0..30_444).map(|i| ((i as f32 * 12.9898).sin() * 437.585).sin() * 9.0).collect();
        let all = |set: Instructions, count: usize| {
            let (mut peak, mut sum) = (None, 0.0);
            find_peak(set, &logits[..count], &mut peak);
            add_weights(set, &logits[..count], peak.unwrap(), 0.7, &mut sum);
            (peak.map(f32::to_bits), sum.to_bits())
        };
        for set in Instructions::ALL.into_iter().filter(|set| set.is_available()) {
            for count in [1, 15, 16, 17, 1000, logits.len()] {
                assert_eq!(all(set, count), all(Instructions::Scalar, count), "{}, {count}", set.name());
            }
        }
    }
}
