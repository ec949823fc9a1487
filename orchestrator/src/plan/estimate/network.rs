//! Sizes of a network from its shape: the numbers that the worker counts on the tensors themselves.
//!
//! Source: the forward and backward pass cost 6 FLOPs for each weight of a product and token (Kaplan et al. 2020, arXiv:2001.08361), and causal
//! attention 12·heads·head_dim for each key that a token sees on average: half the context, less behind a window.

use cupola_specs::job::{Activation, Family, ModelParams, ModelShape, ModelType, StepParams};

use super::flops::vocab_size;
use crate::plan::{Plan, Step};

/// Weights of the hidden products: without embeddings, head, norms and biases.
fn product_params(shape: &ModelShape) -> f64 {
    let width = shape.hidden_size as f64;
    let layer = match shape.family {
        Family::Transformer => {
            let heads = (shape.num_attention_heads * shape.head_dim) as f64;
            let keys = (shape.num_key_value_heads * shape.head_dim) as f64;
            let feed_forward = match shape.activation {
                Activation::Swiglu => 3.0,
                Activation::Relu2 | Activation::GeluNew => 2.0,
            };
            width * (2.0 * heads + 2.0 * keys + feed_forward * shape.intermediate_size as f64)
        }
        Family::Lstm => 9.0 * width * width,
    };
    layer * shape.num_hidden_layers as f64 + gates(shape)
}

/// Weights of the gates of value embeddings, which read 32 channels.
fn gates(shape: &ModelShape) -> f64 {
    let layers =
        (0..shape.num_hidden_layers).filter(|layer| shape.has_value_embedding(*layer)).count() as u64;
    (layers * shape.num_key_value_heads * shape.hidden_size.min(32)) as f64
}

/// Norms and biases.
fn vector_params(shape: &ModelShape) -> f64 {
    let (width, layers) = (shape.hidden_size as f64, shape.num_hidden_layers as f64);
    if shape.family == Family::Lstm {
        return layers * 5.0 * width + width;
    }
    let head = shape.head_dim as f64;
    let (heads, keys) = (head * shape.num_attention_heads as f64, head * shape.num_key_value_heads as f64);
    // A layer norm has a gain and a bias, nanochat's norm neither.
    let norm = match shape.model_type {
        ModelType::Gpt2 => 2.0,
        ModelType::Nanochat => 0.0,
        _ => 1.0,
    };
    let qk_norm = if shape.qk_norm { 2.0 * head * norm } else { 0.0 };
    let output = if shape.model_type == ModelType::Qwen2 { 0.0 } else { width };
    let attention = if shape.attention_bias { heads + 2.0 * keys + output } else { 0.0 };
    let gate = if shape.activation == Activation::Swiglu { shape.intermediate_size as f64 } else { 0.0 };
    let feed_forward = if shape.mlp_bias { gate + shape.intermediate_size as f64 + width } else { 0.0 };
    let scalars = if shape.residual_scalars { 2.0 } else { 0.0 };
    layers * (2.0 * norm * width + qk_norm + attention + feed_forward + scalars) + norm * width
}

/// Tables besides the embedding of tokens: learned positions, value embeddings.
fn table_params(shape: &ModelShape, vocab_size: u64) -> f64 {
    let positions = match shape.model_type {
        ModelType::Gpt2 => shape.max_position_embeddings * shape.hidden_size,
        _ => 0,
    };
    let layers =
        (0..shape.num_hidden_layers).filter(|layer| shape.has_value_embedding(*layer)).count() as u64;
    (positions + layers * vocab_size * shape.num_key_value_heads * shape.head_dim) as f64
}

/// Parameters without embeddings and head: the `N` of scaling laws.
pub fn num_params(shape: &ModelShape) -> f64 {
    product_params(shape) + vector_params(shape)
}

/// Parameters in all.
pub fn total_params(shape: &ModelShape, vocab_size: u64) -> f64 {
    let matrices = if shape.tie_word_embeddings { 1.0 } else { 2.0 };
    num_params(shape) + table_params(shape, vocab_size) + matrices * (shape.hidden_size * vocab_size) as f64
}

/// FLOPs of forward and backward for one token in rows of `context_length`.
pub fn flops_per_token(shape: &ModelShape, vocab_size: u64, context_length: u64) -> f64 {
    let head = (shape.hidden_size * vocab_size) as f64;
    let attention = match shape.family {
        Family::Transformer => {
            12.0 * (shape.num_attention_heads * shape.head_dim) as f64
                * shape.mean_visible_keys(context_length)
        }
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
        let model_type = if family == Family::Lstm { ModelType::Lstm } else { ModelType::Qwen3 };
        ModelShape {
            num_hidden_layers: 3,
            hidden_size: 8,
            intermediate_size: 24,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 2,
            tie_word_embeddings: true,
            max_position_embeddings: 64,
            ..ModelShape::plain(model_type)
        }
    }

    /// Counted by hand, tensor by tensor.
    #[test]
    fn sizes_are_those_of_the_tensors() {
        let one = shape(Family::Transformer);
        let layer = 64 + 32 + 32 + 64 + 3 * 24 * 8 + 2 * 8 + 2 * 2;
        assert_eq!(num_params(&one) as u64, 3 * layer + 8);
        assert_eq!(total_params(&one, 100) as u64, 3 * layer + 8 + 800);
        let wide = ModelShape {
            model_type: ModelType::Arcee,
            activation: Activation::Relu2,
            qk_norm: false,
            tie_word_embeddings: false,
            ..one
        };
        let layer = 64 + 32 + 32 + 64 + 2 * 24 * 8 + 2 * 8;
        assert_eq!(total_params(&wide, 100) as u64, 3 * layer + 8 + 1600);
        let lstm = shape(Family::Lstm);
        assert_eq!(num_params(&lstm) as u64, 3 * (8 + 2 * 32 * 8 + 32 + 64) + 8);
    }

    /// The sizes of released models, as their makers count them.
    #[test]
    fn sizes_are_those_of_released_models() {
        let sized = |model_type, [layers, hidden, inner, heads, keys, head]: [u64; 6], tied| ModelShape {
            num_hidden_layers: layers,
            hidden_size: hidden,
            intermediate_size: inner,
            num_attention_heads: heads,
            num_key_value_heads: keys,
            head_dim: head,
            tie_word_embeddings: tied,
            max_position_embeddings: 1024,
            ..ModelShape::plain(model_type)
        };
        let cases = [
            (sized(ModelType::Gpt2, [12, 768, 3072, 12, 12, 64], true), 50_257, 124_439_808),
            (sized(ModelType::Qwen2, [24, 896, 4864, 14, 2, 64], true), 151_936, 494_032_768),
            (sized(ModelType::Qwen3, [28, 1024, 3072, 16, 8, 128], true), 151_936, 596_049_920),
            (sized(ModelType::Llama, [16, 2048, 8192, 32, 8, 64], true), 128_256, 1_235_814_400),
            (sized(ModelType::Mistral, [32, 4096, 14_336, 32, 8, 128], false), 32_000, 7_241_732_096),
        ];
        for (shape, vocab_size, wanted) in cases {
            assert_eq!(total_params(&shape, vocab_size) as u64, wanted, "{:?}", shape.model_type);
        }
    }

    /// Counted by hand: a gate of 32 channels and a table in one layer of two, two scalars a layer, no norm with weights.
    #[test]
    fn nanochats_own_parts_are_counted() {
        let shape = ModelShape {
            num_hidden_layers: 2,
            value_embeddings: true,
            residual_scalars: true,
            ..ModelShape::plain(ModelType::Nanochat)
        };
        let layer = 4 * 64 * 64 + 2 * 64 * 256 + 2;
        assert_eq!(num_params(&shape) as u64, 2 * layer + 32);
        assert_eq!(total_params(&shape, 100) as u64, 2 * layer + 32 + 2 * 6400 + 6400);
    }

    #[test]
    fn a_window_costs_what_it_shows() {
        let window = |sliding_window| ModelShape { sliding_window, ..ModelShape::plain(ModelType::Mistral) };
        let attention =
            |shape: &ModelShape| flops_per_token(shape, 1, 64) - 6.0 * (product_params(shape) + 64.0);
        assert_eq!(attention(&window(0)) as u64, 12 * 64 * 32);
        assert_eq!(attention(&window(64)) as u64, 12 * 64 * 32);
        // A row of 64: 16 keys, but for the first 16 tokens 8 on average.
        assert_eq!(attention(&window(16)) as u64, 12 * 64 * (16 * 48 + 8 * 16) / 64);
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
