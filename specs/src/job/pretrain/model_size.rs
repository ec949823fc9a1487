//! Sizes of a network from its shape, and what a token costs: the one count, for plans and workers alike.
//!
//! Source: the forward and backward pass cost 6 FLOPs for each weight of a product and token (Kaplan et al. 2020, arXiv:2001.08361), and causal
//! attention 12·heads·head_dim for each key that a token sees on average: half the context, less behind a window.

use super::{Activation, Family, ModelShape, ModelType};
use crate::job::{LoraConfig, LoraTarget};

/// Channels that the gate of a value embedding reads.
const GATE_CHANNELS: u64 = 32;

/// A product of each layer: the targets that it is, its inputs and its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// What adapters call it: several targets where they are one matrix.
    pub targets: &'static [LoraTarget],
    /// Columns of its weight.
    pub inputs: u64,
    /// Rows of its weight.
    pub outputs: u64,
}

impl Product {
    /// Its weights.
    pub fn params(&self) -> u64 {
        self.inputs * self.outputs
    }
}

impl ModelShape {
    /// Width of all query heads.
    pub fn query_width(&self) -> u64 {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key heads.
    pub fn key_width(&self) -> u64 {
        self.num_key_value_heads * self.head_dim
    }

    /// The products of a layer of a transformer that an adapter fits, in order.
    pub fn layer_products(&self) -> Vec<Product> {
        use LoraTarget::{Down, Gate, K, O, Q, Up, V};
        if self.family == Family::Lstm {
            return Vec::new();
        }
        let (width, queries, keys) = (self.hidden_size, self.query_width(), self.key_width());
        let inner = self.intermediate_size;
        let product = |targets, inputs, outputs| Product { targets, inputs, outputs };
        let mut products = if self.model_type == ModelType::Gpt2 {
            vec![product(&[Q, K, V][..], width, queries + 2 * keys)]
        } else {
            vec![product(&[Q], width, queries), product(&[K], width, keys), product(&[V], width, keys)]
        };
        products.push(product(&[O], queries, width));
        if self.activation == Activation::Swiglu {
            products.push(product(&[Gate], width, inner));
        }
        products.extend([product(&[Up], width, inner), product(&[Down], inner, width)]);
        products
    }

    /// Weights of the hidden products: without embeddings, head, norms and biases.
    pub fn product_params(&self) -> u64 {
        let layer = match self.family {
            Family::Transformer => self.layer_products().iter().map(Product::params).sum(),
            Family::Lstm => 9 * self.hidden_size * self.hidden_size,
        };
        let gate = self.num_key_value_heads * self.hidden_size.min(GATE_CHANNELS);
        layer * self.num_hidden_layers + gate * self.num_value_embeddings()
    }

    /// Layers with a value embedding.
    pub fn num_value_embeddings(&self) -> u64 {
        (0..self.num_hidden_layers).filter(|layer| self.has_value_embedding(*layer)).count() as u64
    }

    /// Norms, biases and scalars.
    fn vector_params(&self) -> u64 {
        let (width, layers) = (self.hidden_size, self.num_hidden_layers);
        if self.family == Family::Lstm {
            return layers * 5 * width + width;
        }
        let (queries, keys) = (self.query_width(), self.key_width());
        // A layer norm has a gain and a bias, nanochat's norm neither.
        let norm = match self.model_type {
            ModelType::Gpt2 => 2,
            ModelType::Nanochat => 0,
            _ => 1,
        };
        let qk_norm = if self.qk_norm { 2 * self.head_dim * norm } else { 0 };
        let output = if self.model_type == ModelType::Qwen2 { 0 } else { width };
        let attention = if self.attention_bias { queries + 2 * keys + output } else { 0 };
        let gate = if self.activation == Activation::Swiglu { self.intermediate_size } else { 0 };
        let feed_forward = if self.mlp_bias { gate + self.intermediate_size + width } else { 0 };
        let scalars = if self.residual_scalars { 2 } else { 0 };
        layers * (2 * norm * width + qk_norm + attention + feed_forward + scalars) + norm * width
    }

    /// Tables besides the embedding of tokens: learned positions, value embeddings.
    fn table_params(&self, vocab_size: u64) -> u64 {
        let positions = match self.model_type {
            ModelType::Gpt2 => self.max_position_embeddings * self.hidden_size,
            _ => 0,
        };
        positions + self.num_value_embeddings() * vocab_size * self.key_width()
    }

    /// Parameters without embeddings and head: the `N` of scaling laws.
    pub fn num_params(&self) -> u64 {
        self.product_params() + self.vector_params()
    }

    /// Parameters in all.
    pub fn total_params(&self, vocab_size: u64) -> u64 {
        let matrices = if self.tie_word_embeddings { 1 } else { 2 };
        self.num_params() + self.table_params(vocab_size) + matrices * self.hidden_size * vocab_size
    }

    /// Parameters of adapters.
    pub fn adapter_params(&self, lora: &LoraConfig) -> u64 {
        let products = self.layer_products();
        let adapted = products.iter().filter(|product| lora.adapts(product.targets));
        let layer: u64 = adapted.map(|product| lora.rank * (product.inputs + product.outputs)).sum();
        layer * self.num_hidden_layers
    }

    /// FLOPs of forward and backward for one token in rows of `context_length`: 6 for each weight of a product (head included), and attention's
    /// 12·H·D for each key that a token sees on average, T/2 in a layer without a window. Where adapters train, a weight has no gradient
    /// and costs 4; theirs cost 6.
    pub fn flops_per_token(&self, vocab_size: u64, context_length: u64, adapter_params: Option<u64>) -> f64 {
        let products = (self.product_params() + self.hidden_size * vocab_size) as f64;
        let attention = match self.family {
            Family::Transformer => 12.0 * self.query_width() as f64 * self.mean_visible_keys(context_length),
            Family::Lstm => 0.0,
        };
        match adapter_params {
            Some(adapters) => 4.0 * products + 6.0 * adapters as f64 + attention,
            None => 6.0 * products + attention,
        }
    }

    /// FLOPs of forward and backward for one token as DeepSeek LLM (2024, arXiv:2401.02954) counts them: 6 for each weight but those of embeddings
    /// and head, and 12·layers·width·context for attention.
    pub fn body_flops_per_token(&self, context_length: u64) -> f64 {
        let attention = match self.family {
            Family::Transformer => 12 * self.num_hidden_layers * self.hidden_size * context_length,
            Family::Lstm => 0,
        };
        (6 * self.num_params() + attention) as f64
    }
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
        assert_eq!(one.num_params(), 3 * layer + 8);
        assert_eq!(one.total_params(100), 3 * layer + 8 + 800);
        let wide = ModelShape {
            model_type: ModelType::Arcee,
            activation: Activation::Relu2,
            qk_norm: false,
            tie_word_embeddings: false,
            ..one
        };
        let layer = 64 + 32 + 32 + 64 + 2 * 24 * 8 + 2 * 8;
        assert_eq!(wide.total_params(100), 3 * layer + 8 + 1600);
        let lstm = shape(Family::Lstm);
        assert_eq!(lstm.num_params(), 3 * (8 + 2 * 32 * 8 + 32 + 64) + 8);
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
            assert_eq!(shape.total_params(vocab_size), wanted, "{:?}", shape.model_type);
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
        assert_eq!(shape.num_params(), 2 * layer + 32);
        assert_eq!(shape.total_params(100), 2 * layer + 32 + 2 * 6400 + 6400);
    }

    #[test]
    fn a_window_costs_what_it_shows() {
        let window = |sliding_window| ModelShape { sliding_window, ..ModelShape::plain(ModelType::Mistral) };
        let attention = |shape: &ModelShape| {
            shape.flops_per_token(1, 64, None) - 6.0 * (shape.product_params() + 64) as f64
        };
        assert_eq!(attention(&window(0)) as u64, 12 * 64 * 32);
        assert_eq!(attention(&window(64)) as u64, 12 * 64 * 32);
        // A row of 64: 16 keys, but for the first 16 tokens 8 on average.
        assert_eq!(attention(&window(16)) as u64, 12 * 64 * (16 * 48 + 8 * 16) / 64);
    }

    #[test]
    fn a_token_costs_six_for_each_weight_of_a_product_and_its_attention() {
        let products = 3 * (64 + 32 + 32 + 64 + 3 * 24 * 8) + 8 * 100;
        let transformer = shape(Family::Transformer).flops_per_token(100, 16, None);
        assert_eq!(transformer as u64, 6 * products + 6 * 3 * 8 * 16);
        let lstm = shape(Family::Lstm).flops_per_token(100, 16, None);
        assert_eq!(lstm as u64, 6 * (3 * 9 * 64 + 800));
    }

    /// Counted by hand: a frozen weight costs 4, an adapter's 6.
    #[test]
    fn adapters_are_counted_by_their_rank() {
        let shape = shape(Family::Transformer);
        let lora = |targets: &[LoraTarget]| LoraConfig {
            rank: 2,
            alpha: 4.0,
            use_rslora: false,
            targets: targets.to_vec(),
            dropout: 0.0,
        };
        let some = lora(&[LoraTarget::Q, LoraTarget::V]);
        assert_eq!(shape.adapter_params(&some), 3 * 2 * ((8 + 8) + (8 + 4)));
        let all = shape.adapter_params(&lora(&[LoraTarget::AllLinear]));
        assert_eq!(all, 3 * 2 * (16 + 12 + 12 + 16 + 3 * 32));
        let flops = shape.flops_per_token(100, 16, Some(all));
        let products = 3 * (64 + 32 + 32 + 64 + 3 * 24 * 8) + 8 * 100;
        assert_eq!(flops as u64, 4 * products + 6 * all + 6 * 3 * 8 * 16);
    }
}
