//! Products by every set of instructions that the machine has, against plain loops over the weights as they were packed.

use super::elementwise::{of_bf16, to_bf16};
use super::{Activation, Inputs, Instructions, Matrix, Order, Pool, Sink, WeightFormat};

/// Numbers between −1 and 1 without a generator.
pub(super) fn wave(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i as f32 * 12.9898 + seed as f32 * 78.233).sin() * 437.585).sin()).collect()
}

/// The sets that this machine has; the others are named.
pub(super) fn sets() -> Vec<Instructions> {
    let (here, missing): (Vec<_>, Vec<_>) = Instructions::ALL.into_iter().partition(|set| set.is_available());
    for set in missing {
        println!("{}: skipped, this machine lacks it", set.name());
    }
    here
}

fn product(set: Instructions, threads: usize, matrix: &Matrix, x: &[f32], sink: Sink) -> Vec<f32> {
    let mut pool = Pool::with_instructions(threads, set);
    let (width, rows) = (matrix.inputs(), x.len() / matrix.inputs());
    let mut inputs = Inputs::new(matrix.format(), width);
    inputs.fill(&mut pool, rows, &|row, out| out.copy_from_slice(&x[row * width..][..width]));
    let outputs = if matches!(sink, Sink::Activate(Activation::SwiGlu)) {
        matrix.outputs() / 2
    } else {
        matrix.outputs()
    };
    let mut out = wave(rows * outputs, 9);
    matrix.multiply(&mut pool, &inputs, sink, &mut out);
    out
}

/// Both factors as a format rounds them: each row of `K`, int4 in groups of 32.
fn rounded(format: WeightFormat, x: &[f32], width: usize, is_weight: bool) -> Vec<f64> {
    let whole = |row: &[f32], steps: f32| -> Vec<f64> {
        let scale = row.iter().fold(0.0f32, |most, x| most.max(x.abs())) / steps;
        row.iter().map(|x| f64::from(if scale > 0.0 { (x / scale).round() * scale } else { 0.0 })).collect()
    };
    match (format, is_weight) {
        (WeightFormat::Fp32, _) => x.iter().map(|x| f64::from(*x)).collect(),
        (WeightFormat::Bf16, _) => x.iter().map(|x| f64::from(of_bf16(to_bf16(*x)))).collect(),
        (WeightFormat::Int8, _) | (WeightFormat::Int4, false) => {
            x.chunks(width).flat_map(|row| whole(row, 127.0)).collect()
        }
        // The scale is chosen among several: a plain one is close.
        (WeightFormat::Int4, true) => x
            .chunks(width)
            .flat_map(|row| row.chunks(32).flat_map(|group| whole(group, 7.5)).collect::<Vec<_>>())
            .collect(),
    }
}

const SIZES: [(usize, usize, usize); 6] =
    [(1, 64, 32), (1, 768, 96), (5, 40, 50), (16, 100, 33), (37, 96, 64), (70, 160, 48)];

#[test]
fn products_of_every_format_and_set_equal_plain_loops() {
    for format in WeightFormat::ALL {
        for set in sets() {
            let mut worst = 0.0f64;
            for (rows, inputs, outputs) in SIZES {
                let (x, w, bias) = (wave(rows * inputs, 1), wave(outputs * inputs, 2), wave(outputs, 3));
                let mut pool = Pool::with_instructions(2, set);
                let matrix = Matrix::pack(&mut pool, &w, Some(&bias), inputs, (Order::Plain, format));
                let got = product(set, 2, &matrix, &x, Sink::Store);
                let added = product(set, 2, &matrix, &x, Sink::Add);
                let before = wave(rows * outputs, 9);
                assert!(
                    added
                        .iter()
                        .zip(&got)
                        .zip(&before)
                        .all(|((sum, a), b)| sum.to_bits() == (a + b).to_bits())
                );
                let (x, w) = (rounded(format, &x, inputs, false), rounded(format, &w, inputs, true));
                for row in 0..rows {
                    for output in 0..outputs {
                        let sum: f64 =
                            (0..inputs).map(|k| x[row * inputs + k] * w[output * inputs + k]).sum();
                        let far =
                            (f64::from(got[row * outputs + output]) - sum - f64::from(bias[output])).abs();
                        worst = worst.max(far / (inputs as f64).sqrt());
                    }
                }
            }
            let most = if format == WeightFormat::Int4 { 0.15 } else { 2e-5 };
            println!("{format:?} by {}: at most {worst:.1e} from plain loops", set.name());
            assert!(worst < most, "{format:?} by {}: {worst:e}", set.name());
        }
    }
}

#[test]
fn every_set_has_the_bits_of_the_scalar_one_where_it_says_so() {
    for format in [WeightFormat::Fp32, WeightFormat::Int8, WeightFormat::Int4] {
        for (rows, inputs, outputs) in SIZES {
            let (x, w) = (wave(rows * inputs, 4), wave(outputs * inputs, 5));
            let mut pool = Pool::new(1);
            let matrix = Matrix::pack(&mut pool, &w, None, inputs, (Order::Plain, format));
            let plain = product(Instructions::Scalar, 1, &matrix, &x, Sink::Store);
            for set in sets() {
                assert!(product(set, 2, &matrix, &x, Sink::Store) == plain, "{format:?} by {}", set.name());
            }
        }
    }
}

#[test]
fn a_rows_bits_depend_on_the_row_alone() {
    let (inputs, outputs) = (200, 90);
    let w = wave(outputs * inputs, 7);
    // Small ones too: products and sums around the smallest normal number, which tiles take for 0 below it.
    for (format, scale) in WeightFormat::ALL.into_iter().flat_map(|format| [(format, 1.0), (format, 3e-38)]) {
        let x: Vec<f32> = wave(83 * inputs, 6).iter().map(|x| x * scale).collect();
        for set in sets() {
            let mut pool = Pool::with_instructions(2, set);
            let matrix = Matrix::pack(&mut pool, &w, None, inputs, (Order::Plain, format));
            let all = product(set, 2, &matrix, &x, Sink::Store);
            for (first, count) in [(0, 1), (82, 1), (3, 2), (7, 16), (20, 17), (11, 63)] {
                let alone =
                    product(set, 1, &matrix, &x[first * inputs..(first + count) * inputs], Sink::Store);
                let among = &all[first * outputs..(first + count) * outputs];
                assert!(alone == among, "{format:?} by {}: rows {first} and {count} on", set.name());
            }
        }
    }
}

#[test]
fn activations_follow_their_products() {
    let (rows, inputs, inner) = (9, 64, 40);
    let (x, w) = (wave(rows * inputs, 1), wave(2 * inner * inputs, 2));
    for set in sets() {
        let mut pool = Pool::with_instructions(2, set);
        let mut pack = |order| Matrix::pack(&mut pool, &w, None, inputs, (order, WeightFormat::Fp32));
        let (plain, gated) = (pack(Order::Plain), pack(Order::Gated));
        let sums = product(set, 1, &plain, &x, Sink::Store);
        let got = product(set, 2, &gated, &x, Sink::Activate(Activation::SwiGlu));
        for row in 0..rows {
            for i in 0..inner {
                let (gate, up) =
                    (f64::from(sums[row * 2 * inner + i]), f64::from(sums[row * 2 * inner + inner + i]));
                let far = f64::from(got[row * inner + i]) - gate / (1.0 + (-gate).exp()) * up;
                assert!(far.abs() < 1e-5, "{far:e}");
            }
        }
        for (activation, exact) in [
            (Activation::Relu2, (|x| x.max(0.0) * x.max(0.0)) as fn(f64) -> f64),
            (Activation::GeluTanh, |x| {
                0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044_715 * x.powi(3))).tanh())
            }),
        ] {
            let got = product(set, 2, &plain, &x, Sink::Activate(activation));
            let far = got.iter().zip(&sums).map(|(a, b)| (f64::from(*a) - exact(f64::from(*b))).abs());
            let far = far.fold(0.0, f64::max);
            assert!(far < 2e-5, "{activation:?}: {far:e}");
        }
    }
}

#[test]
fn a_row_with_a_number_that_is_none_gives_none() {
    for format in WeightFormat::ALL {
        let (inputs, outputs) = (64, 32);
        let mut x = wave(2 * inputs, 1);
        x[3] = f32::NAN;
        let mut pool = Pool::new(1);
        let matrix =
            Matrix::pack(&mut pool, &wave(outputs * inputs, 2), None, inputs, (Order::Plain, format));
        let got = product(Instructions::best(), 1, &matrix, &x, Sink::Store);
        assert!(got[..outputs].iter().all(|x| x.is_nan()), "{format:?}");
        assert!(got[outputs..].iter().all(|x| x.is_finite()), "{format:?}");
    }
}
