//! Rotary positions (Su et al. 2021, arXiv:2104.09864) and the ways to stretch them.
//!
//! The rules and their names are those of Hugging Face's `rope_parameters`: `linear`, `dynamic` (NTK-aware: the base grows with rows longer than
//! `max_position_embeddings`, and with shorter ones it is the plain rule), `yarn` (Peng et al. 2023, arXiv:2309.00071), `llama3`.
//!
//! Shapes: `B` batch, `T` time, `H` heads, `D` head dim.

use std::f64::consts::TAU;

use cupola_specs::job::{ModelShape, ModelType, RopeScaling};
use tch::{Device, Kind, Tensor};

/// Cosines and sines for positions from 0 on, each `[length, D]` in fp32, halves repeated.
#[derive(Debug)]
pub(crate) struct RopeTable {
    /// Cosines.
    pub cos: Tensor,
    /// Sines.
    pub sin: Tensor,
}

impl RopeTable {
    /// The table of a shape for rows of up to `length` tokens.
    pub(crate) fn new(shape: &ModelShape, length: i64, device: Device) -> Self {
        let (frequencies, factor) = frequencies(shape, length as u64);
        let frequencies: Vec<f32> = frequencies.into_iter().map(|frequency| frequency as f32).collect();
        let frequencies = Tensor::from_slice(&frequencies).to_device(device); // [D/2]
        let positions = Tensor::arange(length, (Kind::Float, device)); // [length]
        let angles = positions.unsqueeze(1) * frequencies.unsqueeze(0); // [length, D/2]
        let angles = Tensor::cat(&[&angles, &angles], 1); // [length, D]
        let (mut cos, mut sin) = (angles.cos(), angles.sin());
        if (factor - 1.0).abs() > f64::EPSILON {
            (cos, sin) = (cos * factor, sin * factor);
        }
        // Nanochat turns the other way round.
        if shape.model_type == ModelType::Nanochat {
            sin = -sin;
        }
        Self { cos, sin }
    }

    /// Whether rows longer than the table's `max_position_embeddings` have a table of their own.
    pub(super) fn grows(shape: &ModelShape) -> bool {
        matches!(shape.rope_scaling, RopeScaling::Dynamic { .. })
    }
}

/// Rotates queries or keys `[B, H, T, D]` by their positions; `cos` and `sin` broadcast to it.
pub(super) fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    let halves = x.chunk(2, -1);
    let turned = Tensor::cat(&[&(-&halves[1]), &halves[0]], -1); // [B, H, T, D]
    x * cos + turned * sin
}

/// Radians a position of each pair of dimensions, in rows of up to `length` tokens; and what cosines and sines are multiplied by.
pub(super) fn frequencies(shape: &ModelShape, length: u64) -> (Vec<f64>, f64) {
    let (dim, theta) = (shape.head_dim as f64, shape.rope_theta);
    let plain = |theta: f64| plain_frequencies(&ModelShape { rope_theta: theta, ..shape.clone() });
    match shape.rope_scaling {
        RopeScaling::Default => (plain(theta), 1.0),
        RopeScaling::Linear { factor } => (plain(theta).into_iter().map(|f| f / factor).collect(), 1.0),
        RopeScaling::Dynamic { factor } => {
            let most = shape.max_position_embeddings as f64;
            let times = factor * (length as f64).max(most) / most - (factor - 1.0);
            (plain(theta * times.powf(dim / (dim - 2.0))), 1.0)
        }
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            let original = original_max_position_embeddings as f64;
            let stretched = plain(theta).into_iter().map(|frequency| {
                let turns = original * frequency / TAU;
                let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let kept = if turns < low_freq_factor { 0.0 } else { kept.min(1.0) };
                (1.0 - kept) * frequency / factor + kept * frequency
            });
            (stretched.collect(), 1.0)
        }
        RopeScaling::Yarn { factor, attention_factor, .. } => {
            let kept = yarn_kept(shape);
            let stretched = plain(theta)
                .into_iter()
                .zip(kept)
                .map(|(frequency, kept)| frequency / factor * (1.0 - kept) + frequency * kept);
            (stretched.collect(), attention_factor)
        }
    }
}

/// Those of a shape whose positions are not stretched.
pub(super) fn plain_frequencies(shape: &ModelShape) -> Vec<f64> {
    let dim = shape.head_dim as f64;
    (0..shape.head_dim / 2).map(|i| 1.0 / shape.rope_theta.powf(2.0 * i as f64 / dim)).collect()
}

/// Which share of each frequency YaRN keeps.
fn yarn_kept(shape: &ModelShape) -> Vec<f64> {
    let RopeScaling::Yarn { original_max_position_embeddings, beta_fast, beta_slow, truncate, .. } =
        shape.rope_scaling
    else {
        return Vec::new();
    };
    let dim = shape.head_dim as f64;
    let dimension_of = |turns: f64| {
        dim * (original_max_position_embeddings as f64 / (turns * TAU)).ln() / (2.0 * shape.rope_theta.ln())
    };
    let (mut low, mut high) = (dimension_of(beta_fast), dimension_of(beta_slow));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(dim - 1.0));
    if (high - low).abs() < f64::EPSILON {
        high += 0.001;
    }
    (0..shape.head_dim / 2).map(|i| 1.0 - ((i as f64 - low) / (high - low)).clamp(0.0, 1.0)).collect()
}
