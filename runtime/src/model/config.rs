//! What a folder says beside its weights, the `depth` dial, and which shapes are networks.

use cupola_specs::job::{Family, ModelShape, ModelType};

use super::ModelError;

/// What a saved folder says beside the weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveFacts {
    /// The token before each document; generation starts from it.
    pub bos_token_id: u32,
    /// Tokens that end an answer.
    pub stop_token_ids: Vec<u32>,
    /// The padding token.
    pub pad_token_id: u32,
}

/// The shape that one dial gives: width 64 a layer, heads of 64, SwiGLU of 8/3 the width, query-key norm, untied embeddings.
pub fn depth_shape(family: Family, depth: u64, context_length: u64) -> ModelShape {
    let hidden_size = 64 * depth;
    let num_heads = depth.max(1);
    let model_type = if family == Family::Lstm { ModelType::Lstm } else { ModelType::Qwen3 };
    ModelShape {
        num_hidden_layers: depth,
        hidden_size,
        intermediate_size: (hidden_size * 8).div_ceil(3).next_multiple_of(64),
        num_attention_heads: num_heads,
        num_key_value_heads: num_heads,
        max_position_embeddings: context_length,
        ..ModelShape::plain(model_type)
    }
}

/// Refuses a shape that no network has.
pub(super) fn check(shape: &ModelShape) -> Result<(), ModelError> {
    if shape.num_hidden_layers == 0 || shape.hidden_size == 0 || shape.max_position_embeddings == 0 {
        let message = "num_hidden_layers, hidden_size and max_position_embeddings must be at least 1";
        return Err(ModelError::Shape(message.into()));
    }
    match shape.problem() {
        Some((message, expected)) => Err(ModelError::Shape(format!("{message}; expected {expected}"))),
        None => Ok(()),
    }
}
