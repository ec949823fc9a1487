//! Layers that every network shares, and the casts of a precision.
//!
//! Shapes: `B` batch, `T` time, `C` channels, `H` heads, `D` head dim.

use cupola_specs::job::Precision;
use tch::{Device, Kind, Tensor};

/// Epsilon of every RMS norm, as written into `config.json`.
pub(super) const RMS_EPS: f64 = 1e-6;

/// The kind that products run in.
pub(super) fn product_kind(precision: Precision) -> Kind {
    match precision {
        Precision::Bf16 => Kind::BFloat16,
        Precision::Fp32 | Precision::Auto => Kind::Float,
    }
}

/// RMS norm (Zhang and Sennrich 2019, arXiv:1910.07467): statistics in fp32, result in `kind`.
pub(super) fn rms_norm(x: &Tensor, gain: &Tensor, kind: Kind) -> Tensor {
    let wide = x.to_kind(Kind::Float);
    let scale = (wide.square().mean_dim(-1, true, Kind::Float) + RMS_EPS).rsqrt();
    (wide * scale * gain).to_kind(kind)
}

/// `x · wᵀ` in the kind of `x`; `w` is an fp32 master.
pub(super) fn linear(x: &Tensor, w: &Tensor) -> Tensor {
    x.linear::<&Tensor>(&w.to_kind(x.kind()), None)
}

/// Cosines and sines of RoPE (Su et al. 2021, arXiv:2104.09864) for positions `[0, length)`, each `[length, D]` in fp32, halves repeated.
pub(super) fn rope_table(length: i64, head_dim: i64, theta: f64, device: Device) -> (Tensor, Tensor) {
    let half = head_dim / 2;
    let frequencies: Vec<f32> =
        (0..half).map(|i| (1.0 / theta.powf(2.0 * i as f64 / head_dim as f64)) as f32).collect();
    let frequencies = Tensor::from_slice(&frequencies).to_device(device); // [D/2]
    let positions = Tensor::arange(length, (Kind::Float, device)); // [length]
    let angles = positions.unsqueeze(1) * frequencies.unsqueeze(0); // [length, D/2]
    let angles = Tensor::cat(&[&angles, &angles], 1); // [length, D]
    (angles.cos(), angles.sin())
}

/// Rotates queries or keys `[B, H, T, D]` by their positions; `cos` and `sin` broadcast to it.
pub(super) fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    let halves = x.chunk(2, -1);
    let turned = Tensor::cat(&[&(-&halves[1]), &halves[0]], -1); // [B, H, T, D]
    x * cos + turned * sin
}
