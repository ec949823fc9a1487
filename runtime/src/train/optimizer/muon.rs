//! Muon: Jordan et al. 2024, the momentum of a hidden matrix made orthogonal; the step is scaled by √max(1, rows/columns).
//!
//! The iteration is Polar Express (Amsel et al. 2025, arXiv:2505.16932): in each round the odd quintic that brings the interval of the singular values
//! nearest to 1 of all, for a smallest one of 1e-3 of the norm. Jordan's one quintic for all rounds is there for older recipes.
//!
//! Shapes: `N` matrices of one shape, which go through the iteration as one batch, `R` rows, `C` columns.

use cupola_specs::job::{Orthogonalization, Precision};
use tch::{Kind, Tensor};

/// Rounds of the iteration.
const ROUNDS: usize = 5;
/// Jordan's quintic.
const QUINTIC: [f64; 3] = [3.4445, -4.7750, 2.0315];
/// The quintics of Polar Express by round, as published (algorithm 1); the fixture script derives them anew.
const POLAR_EXPRESS: [[f64; 3]; ROUNDS] = [
    [8.287_212_018_145_63, -23.595_886_519_098_837, 17.300_387_312_530_933],
    [4.107_059_111_542_203, -2.947_849_916_737_910_6, 0.544_843_108_292_660_1],
    [3.948_690_853_482_294_6, -2.908_902_115_962_949, 0.551_819_139_437_013_7],
    [3.318_419_657_370_601_5, -2.488_488_024_314_874, 0.510_048_940_123_72],
    [2.300_652_019_954_817, -1.668_903_984_574_749_3, 0.418_807_311_952_567_3],
];
/// Keeps singular values that rounding moved above 1 from growing: each polynomial is of x / 1.01, and so is the start.
const SAFETY: f64 = 1.01;

/// The momentum moves to the gradient, and what comes of it, one step ahead or not.
pub(super) fn momentum(buffer: &mut Tensor, grad: &Tensor, momentum: f64, nesterov: bool) -> Tensor {
    let _ = buffer.lerp_(grad, 1.0 - momentum);
    if nesterov { grad.lerp(buffer, momentum) } else { buffer.shallow_clone() }
}

/// The factor of a step of a matrix of this size.
pub(super) fn step_scale(rows: i64, columns: i64) -> f64 {
    (rows as f64 / columns as f64).max(1.0).sqrt()
}

/// The nearest semi-orthogonal matrix of each.
///
/// # Shapes
/// `[N, R, C]` → `[N, R, C]` in fp32.
pub(super) fn orthogonalize(matrices: &Tensor, way: Orthogonalization, precision: Precision) -> Tensor {
    let (_, rows, columns) = matrices.size3().unwrap_or_default();
    let tall = rows > columns;
    let wide = if tall { matrices.transpose(1, 2) } else { matrices.shallow_clone() };
    let norm = wide.square().sum_dim_intlist([1i64, 2].as_slice(), true, Kind::Float).sqrt(); // [N, 1, 1]
    let start = match way {
        Orthogonalization::PolarExpress => norm * SAFETY + 1e-7,
        Orthogonalization::NewtonSchulz => norm + 1e-7,
    };
    let kind = if precision == Precision::Bf16 { Kind::BFloat16 } else { Kind::Float };
    let mut x = (wide / start).to_kind(kind); // [N, min, max]
    for [a, b, c] in polynomials(way) {
        let gram = x.bmm(&x.transpose(1, 2)); // [N, min, min]
        let polynomial = &gram * b + gram.bmm(&gram) * c;
        x = &x * a + polynomial.bmm(&x);
    }
    let x = x.to_kind(Kind::Float);
    if tall { x.transpose(1, 2) } else { x }
}

/// The polynomial a·x + b·x³ + c·x⁵ of each round.
fn polynomials(way: Orthogonalization) -> [[f64; 3]; ROUNDS] {
    match way {
        Orthogonalization::PolarExpress => {
            POLAR_EXPRESS.map(|[a, b, c]| [a / SAFETY, b / SAFETY.powi(3), c / SAFETY.powi(5)])
        }
        Orthogonalization::NewtonSchulz => [QUINTIC; ROUNDS],
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// Where the rounds send a singular value.
    fn sent(way: Orthogonalization, value: f64) -> f64 {
        polynomials(way).iter().fold(value, |x, [a, b, c]| a * x + b * x.powi(3) + c * x.powi(5))
    }

    #[test]
    fn singular_values_over_two_and_a_half_decades_go_to_one() {
        let farthest = |way, from: f64| {
            (0..=4000)
                .map(|i| (sent(way, (from.ln() * f64::from(i) / 4000.0).exp() / SAFETY) - 1.0).abs())
                .fold(0.0, f64::max)
        };
        let express = [1e-3, 3e-3, 1e-2, 1e-1].map(|from| farthest(Orthogonalization::PolarExpress, from));
        let jordan = farthest(Orthogonalization::NewtonSchulz, 1e-2);
        println!(
            "farthest from 1, from 1e-3, 3e-3, 1e-2 and 1e-1 on: {express:?}; Jordan's from 1e-2 on: {jordan}"
        );
        assert!(express[0] < 0.17 && express[1] < 0.14, "{express:?}");
        assert!(jordan > 0.25, "{jordan}");
    }

    #[test]
    fn muon_moves_every_direction_alike() {
        let values: Vec<f32> = (0..6 * 48).map(|i| ((i * 37 % 101) as f32 - 50.0) / 17.0).collect();
        let matrix = Tensor::from_slice(&values).reshape([1, 6, 48]);
        for matrices in [matrix.shallow_clone(), matrix.transpose(1, 2).contiguous()] {
            let directions =
                orthogonalize(&matrices, Orthogonalization::PolarExpress, Precision::Fp32).get(0);
            let singular = Vec::<f32>::try_from(directions.svd(true, false).1).unwrap();
            assert!(singular.iter().all(|&s| (0.85..1.15).contains(&s)), "{singular:?}");
        }
    }

    #[test]
    fn no_gradient_is_no_direction() {
        let zero = Tensor::zeros([1, 3, 5], (Kind::Float, Device::Cpu));
        let directions = orthogonalize(&zero, Orthogonalization::PolarExpress, Precision::Fp32);
        assert!(directions.equal(&zero));
    }
}
