//! Sizes of a network from its shape: the numbers that the worker counts on the tensors themselves.
//!
//! Source: the forward and backward pass cost 6 FLOPs for each weight of a product and token (Kaplan et al. 2020, arXiv:2001.08361), and causal
//! attention 6·layers·width·context.

use cupola_specs::job::{Activation, Family, ModelParams, ModelShape, StepParams};

use super::flops::vocab_size;
use crate::plan::{Plan, Step};

/// Weights of the hidden products: without embeddings, head, norms and biases.
fn product_params(shape: &ModelShape) -> f64 {
    let width = shape.hidden_size as f64;
    let layer = match shape.family {
        Family::Transformer => {
            let keys = width * key_share(shape);
            let feed_forward = match shape.activation {
                Activation::Swiglu => 3.0,
                Activation::Relu2 => 2.0,
            };
            width * (2.0 * width + 2.0 * keys + feed_forward * shape.intermediate_size as f64)
        }
        Family::Lstm => 9.0 * width * width,
    };
    layer * shape.num_hidden_layers as f64
}

/// Norms and biases.
fn vector_params(shape: &ModelShape) -> f64 {
    let width = shape.hidden_size as f64;
    let layer = match shape.family {
        Family::Transformer => {
            let norms =
                if shape.qk_norm { 2.0 * width / shape.num_attention_heads.max(1) as f64 } else { 0.0 };
            2.0 * width + norms
        }
        Family::Lstm => 5.0 * width,
    };
    layer * shape.num_hidden_layers as f64 + width
}

fn key_share(shape: &ModelShape) -> f64 {
    shape.num_key_value_heads as f64 / shape.num_attention_heads.max(1) as f64
}

/// Parameters without embeddings and head: the `N` of scaling laws.
pub fn num_params(shape: &ModelShape) -> f64 {
    product_params(shape) + vector_params(shape)
}

/// Parameters in all.
pub fn total_params(shape: &ModelShape, vocab_size: u64) -> f64 {
    let matrices = if shape.tie_word_embeddings { 1.0 } else { 2.0 };
    num_params(shape) + matrices * (shape.hidden_size * vocab_size) as f64
}

/// FLOPs of forward and backward for one token in rows of `context_length`.
pub fn flops_per_token(shape: &ModelShape, vocab_size: u64, context_length: u64) -> f64 {
    let head = (shape.hidden_size * vocab_size) as f64;
    let attention = match shape.family {
        Family::Transformer => 6.0 * (shape.num_hidden_layers * shape.hidden_size * context_length) as f64,
        Family::Lstm => 0.0,
    };
    6.0 * (product_params(shape) + head) + attention
}

/// The least that training a network takes: memory for weights, gradients and one moment in fp32; disk for its weights and for as many
/// states as are kept, one more while it is written. None where its size is not known yet.
pub(super) fn floor_bytes(plan: &Plan, step: &Step) -> Option<(u64, u64)> {
    let StepParams::Pretrain(params) = &step.params else { return None };
    let ModelParams::Shape(shape) = &params.model else { return None };
    let total = total_params(shape, vocab_size(plan, step)?);
    let states = if params.checkpoint.every_secs > 0.0 || params.checkpoint.every_steps > 0 {
        (params.checkpoint.keep + params.checkpoint.keep_best.map_or(0, |best| best.count) + 1) as f64
    } else {
        0.0
    };
    Some(((12.0 * total) as u64, ((4.0 + 8.0 * states) * total) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(family: Family) -> ModelShape {
        ModelShape {
            family,
            num_hidden_layers: 3,
            hidden_size: 8,
            intermediate_size: 24,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            activation: Activation::Swiglu,
            qk_norm: true,
            tie_word_embeddings: true,
            rope_theta: 1e4,
            max_position_embeddings: 64,
        }
    }

    /// Counted by hand, tensor by tensor.
    #[test]
    fn sizes_are_those_of_the_tensors() {
        let one = shape(Family::Transformer);
        let layer = 64 + 32 + 32 + 64 + 3 * 24 * 8 + 2 * 8 + 2 * 2;
        assert_eq!(num_params(&one) as u64, 3 * layer + 8);
        assert_eq!(total_params(&one, 100) as u64, 3 * layer + 8 + 800);
        let wide =
            ModelShape { activation: Activation::Relu2, qk_norm: false, tie_word_embeddings: false, ..one };
        let layer = 64 + 32 + 32 + 64 + 2 * 24 * 8 + 2 * 8;
        assert_eq!(total_params(&wide, 100) as u64, 3 * layer + 8 + 1600);
        let lstm = shape(Family::Lstm);
        assert_eq!(num_params(&lstm) as u64, 3 * (8 + 2 * 32 * 8 + 32 + 64) + 8);
    }

    #[test]
    fn a_token_costs_six_for_each_weight_of_a_product_and_its_attention() {
        let products = 3 * (64 + 32 + 32 + 64 + 3 * 24 * 8) + 8 * 100;
        let transformer = flops_per_token(&shape(Family::Transformer), 100, 16);
        assert_eq!(transformer as u64, 6 * products + 6 * 3 * 8 * 16);
        let lstm = flops_per_token(&shape(Family::Lstm), 100, 16);
        assert_eq!(lstm as u64, 6 * (3 * 9 * 64 + 800));
    }
}
