//! What a forward and a backward pass hold in memory, operation by operation as the networks of `runtime/src/model/` make them.
//!
//! libtorch keeps for backward what each operation saves: inputs of products, outputs of softmax, sigmoid and ReLU, both factors of an elementwise product
//! where both train. A tensor that several operations save is there once, and a view keeps all of what it looks at. Backward frees the blocks from the
//! last to the first, so that the most is held where it begins: at the head, or in the last block.
//!
//! Where blocks are computed again, each holds its input alone, and in backward one at a time holds what it keeps otherwise, with the gradients of its
//! weights.
//!
//! Shapes: `N` tokens of a pass, `C` channels, `H` query heads, `K` key-value heads, `D` head dim, `I` feed-forward width, `V` vocab.

use cupola_specs::job::{Activation, Device, Family, ModelType, Precision, Recompute};

use super::training::Training;

/// Most scores that attention by products holds, and the queries that it does at once.
const MOST_SCORES: f64 = (1u64 << 28) as f64;
const BLOCK: f64 = 256.0;
/// Bytes that torch's LSTM operator keeps for each token and channel: gates and states, before and behind their activation.
const LSTM_FP32: f64 = 70.0;
const LSTM_BF16: f64 = 48.0;
/// Bytes of an fp32 number.
const WIDE: f64 = 4.0;

/// What one block holds, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Layer {
    /// From its forward to its backward.
    pub(super) held: f64,
    /// Beside that for a moment on the way forward.
    pub(super) forward: f64,
    /// Beside that for a moment on the way back.
    pub(super) backward: f64,
}

/// How attention is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttentionWay {
    /// The fused operator: no score in memory.
    Fused,
    /// Blocks of queries by oneDNN's products, bf16 on a CPU.
    Blocks,
}

/// A pass over some rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass<'a> {
    training: &'a Training,
    rows: f64,
    /// Bytes of a number of the products.
    narrow: f64,
}

impl<'a> Pass<'a> {
    pub(super) fn new(training: &'a Training, rows: f64) -> Self {
        let narrow = if training.precision == Precision::Bf16 { 2.0 } else { WIDE };
        Self { training, rows, narrow }
    }

    /// `N`.
    pub(super) fn tokens(&self) -> f64 {
        self.rows * self.training.row_tokens as f64
    }

    /// `N` of the tokens that go through the head.
    pub(super) fn head_tokens(&self) -> f64 {
        self.tokens() * self.training.loss_share
    }

    fn is_bf16(&self) -> bool {
        self.training.precision == Precision::Bf16
    }

    /// `[N, C]` in the kind of the products.
    fn stream(&self) -> f64 {
        self.narrow * self.tokens() * self.training.shape.hidden_size as f64
    }

    /// How attention is made in these rows.
    pub(super) fn attention(&self) -> AttentionWay {
        let shape = &self.training.shape;
        let length = self.training.row_tokens as f64;
        let scores = self.rows * shape.num_attention_heads as f64 * length * length;
        let on_cpu = self.training.device == Device::Cpu;
        if on_cpu && self.is_bf16() && scores <= MOST_SCORES {
            AttentionWay::Blocks
        } else {
            AttentionWay::Fused
        }
    }

    /// The most that forward and backward hold at a time.
    pub(super) fn peak(&self) -> f64 {
        let layers = self.layers();
        let (head, at_head) = self.head();
        let most = |of: &dyn Fn(&Layer) -> f64| layers.iter().map(of).fold(0.0, f64::max);
        let (held, backward) = match self.training.recompute {
            Recompute::None => (layers.iter().map(|layer| layer.held).sum(), most(&|layer| layer.backward)),
            Recompute::Blocks => {
                let one = most(&|layer| layer.held + layer.forward.max(layer.backward));
                (layers.len() as f64 * self.stream(), one + self.layer_gradients())
            }
        };
        self.shared() + held + (head + at_head).max(backward)
    }

    /// The most that a forward pass without gradients holds: one block at a time, then the logits and what becomes of them.
    pub(super) fn inference_peak(&self) -> f64 {
        let shape = &self.training.shape;
        let (tokens, narrow) = (self.tokens(), self.narrow);
        let inner = match shape.activation {
            Activation::Swiglu => 4.0,
            Activation::Relu2 | Activation::GeluNew => 2.0,
        };
        let heads = (2 * shape.query_width() + 3 * shape.key_width() + shape.query_width()) as f64;
        let widest = match shape.family {
            Family::Transformer => heads.max(inner * shape.intermediate_size as f64),
            Family::Lstm => 8.0 * shape.hidden_size as f64,
        };
        let block = 3.0 * self.stream() + narrow * tokens * widest + self.attention_layer().forward;
        let logits = WIDE * self.head_tokens() * self.training.vocab_size as f64;
        let copies = if self.is_bf16() { 2.0 + self.narrow / WIDE } else { 2.0 };
        self.shared() + (copies * logits).max(block)
    }

    /// Gradients of the weights of a layer.
    fn layer_gradients(&self) -> f64 {
        let matrices = self.training.layer_matrices();
        WIDE * matrices.iter().map(|(rows, columns)| rows * columns).sum::<u64>() as f64
    }

    /// What all blocks share: ids, targets, mask, and the last norm.
    fn shared(&self) -> f64 {
        let length = self.training.row_tokens as f64;
        let ids = 8.0 * self.tokens() * if self.training.is_masked { 5.0 } else { 2.0 };
        let added = match self.attention() {
            AttentionWay::Blocks if self.training.shape.family == Family::Transformer => 2.0,
            _ => 0.0,
        };
        let squares = self.mask_rows() * 2.0 + self.mask_rows().max(1.0) * added;
        // Nanochat norms the embedding too.
        let streams = if self.training.shape.model_type == ModelType::Nanochat { 2.0 } else { 1.0 };
        ids + squares * length * length
            + streams * self.stream()
            + self.norm(self.tokens(), self.training.shape.hidden_size as f64)
    }

    /// Rows of the mask of a pass: one for each of its rows where documents do not see each other, one for all where a window alone hides keys.
    fn mask_rows(&self) -> f64 {
        let training = self.training;
        let window = training.shape.sliding_window;
        let hides = window > 0 && window < training.row_tokens;
        match (training.is_masked, hides) {
            (true, _) => self.rows,
            (false, true) => 1.0,
            (false, false) => 0.0,
        }
    }

    /// The blocks, in order.
    fn layers(&self) -> Vec<Layer> {
        let shape = &self.training.shape;
        match shape.family {
            Family::Lstm => vec![self.recurrent(); shape.num_hidden_layers as usize],
            Family::Transformer => (0..shape.num_hidden_layers).map(|layer| self.block(layer)).collect(),
        }
    }

    /// What a norm of `count` vectors of this width saves, with its result.
    fn norm(&self, count: f64, width: f64) -> f64 {
        let elements = count * width;
        // A bf16 stream is widened for its statistics.
        let widened = if self.is_bf16() { WIDE } else { 0.0 };
        let unit = match self.training.shape.model_type {
            ModelType::Gpt2 | ModelType::Nanochat => 0.0,
            _ => WIDE,
        };
        elements * (widened + unit + self.narrow)
    }

    fn block(&self, layer: u64) -> Layer {
        let training = self.training;
        let shape = &training.shape;
        let (tokens, narrow) = (self.tokens(), self.narrow);
        let (queries, keys) = (shape.query_width() as f64, shape.key_width() as f64);
        // The values that attention saves are a part of the projection, or what came of adding an embedding to them: then its product with its gate
        // saves that, and of the projection nothing is kept.
        let projected = if shape.has_value_embedding(layer) {
            narrow * tokens * 2.0 * keys
        } else {
            narrow * tokens * (queries + 2.0 * keys)
        };
        let rotated = narrow * tokens * (queries + keys);
        let is_turned = shape.model_type.facts().has_rope || shape.qk_norm;
        let mut held = 2.0 * self.norm(tokens, shape.hidden_size as f64) + projected;
        // In fp32 the stream itself is what the norms saved; each of the two sums makes a new one.
        held += if self.is_bf16() { 0.0 } else { 2.0 * self.stream() };
        if is_turned {
            held += rotated;
        }
        if shape.qk_norm {
            // Nanochat norms what is rotated, and the norm saves it; the others rotate what is normed, and keep nothing of that but the unit vectors.
            let keeps_rotated = shape.model_type == ModelType::Nanochat && !self.is_bf16();
            let kept_result = if keeps_rotated { 0.0 } else { rotated };
            held += self.norm(tokens, queries + keys) - kept_result;
        }
        if shape.residual_scalars {
            // The stream as it was before it was scaled.
            held += self.stream();
        }
        let attention = self.attention_layer();
        let inner = narrow * tokens * shape.intermediate_size as f64;
        let (saved, transient) = match shape.activation {
            Activation::Swiglu => (4.0, 3.0),
            Activation::Relu2 | Activation::GeluNew => (2.0, 3.0),
        };
        held += attention.held + saved * inner + self.copies() + self.adapters();
        Layer {
            held,
            forward: attention.forward.max(0.5 * inner),
            backward: attention.backward.max(transient * inner),
        }
    }

    /// Copies of weights that a block's products save: bf16 ones, and those that are joined into one product.
    fn copies(&self) -> f64 {
        let shape = &self.training.shape;
        let products = shape.layer_products();
        let all: u64 = products.iter().map(cupola_specs::job::Product::params).sum();
        if self.is_bf16() {
            return self.narrow * all as f64;
        }
        let joined = |first: usize, count: usize| -> u64 {
            if count < 2 {
                0
            } else {
                products[first..first + count].iter().map(cupola_specs::job::Product::params).sum()
            }
        };
        let inputs = if shape.model_type == ModelType::Gpt2 { 1 } else { 3 };
        let ways_up = if shape.activation == Activation::Swiglu { 2 } else { 1 };
        WIDE * (joined(0, inputs) + joined(inputs + 1, ways_up)) as f64
    }

    /// What adapters hold: their narrow middle, and each adapted product once more, as its parts are put together anew.
    fn adapters(&self) -> f64 {
        let Some(lora) = &self.training.lora else { return 0.0 };
        let products = self.training.shape.layer_products();
        let adapted = products.iter().filter(|product| lora.adapts(product.targets));
        let of = |product: &cupola_specs::job::Product| {
            let dropped = if lora.dropout > 0.0 { 2.0 * product.inputs as f64 } else { 0.0 };
            self.narrow * self.tokens() * (2.0 * lora.rank as f64 + dropped)
        };
        adapted.map(of).sum()
    }

    /// Attention from rotated queries and keys to what its output product reads.
    fn attention_layer(&self) -> Layer {
        let training = self.training;
        let shape = &training.shape;
        let length = training.row_tokens as f64;
        let (queries, keys) = (shape.query_width() as f64, shape.key_width() as f64);
        let mixed = self.narrow * self.tokens() * queries;
        let scores = self.rows * shape.num_attention_heads as f64 * length * length;
        match self.attention() {
            AttentionWay::Fused => {
                // A mask of booleans is made one of numbers, anew in each layer.
                let mask = self.narrow * self.mask_rows() * length * length;
                let sums = WIDE * self.rows * shape.num_attention_heads as f64 * length;
                Layer { held: mixed + sums + mask, forward: 0.0, backward: 3.0 * mixed }
            }
            AttentionWay::Blocks => {
                let seen = scores * (0.5 + 0.5 * (BLOCK / length).min(1.0));
                let copies = mixed + self.narrow * self.tokens() * 2.0 * keys;
                Layer {
                    held: self.narrow * seen + copies + 2.0 * mixed,
                    forward: 2.0 * self.narrow * seen,
                    backward: 2.0 * self.narrow * seen + 3.0 * mixed,
                }
            }
        }
    }

    /// A layer of an LSTM: its norm, and for each token the gates and states that the fused operator keeps.
    fn recurrent(&self) -> Layer {
        let width = self.training.shape.hidden_size as f64;
        let states = self.narrow * self.tokens() * width;
        let weights = if self.is_bf16() { self.narrow * 9.0 * width * width } else { 0.0 };
        let stream = if self.is_bf16() { 0.0 } else { states };
        let kept = if self.is_bf16() { LSTM_BF16 } else { LSTM_FP32 } * self.tokens() * width;
        let held = self.norm(self.tokens(), width) + stream + kept + weights;
        Layer { held, forward: 4.0 * states, backward: 9.0 * states }
    }

    /// What the head and the loss keep, and what they take beside it at the worst moment.
    fn head(&self) -> (f64, f64) {
        let training = self.training;
        if !training.has_logits() {
            return (0.0, 0.0);
        }
        let logits = WIDE * self.head_tokens() * training.vocab_size as f64;
        let weight = if self.is_bf16() {
            self.narrow * (training.vocab_size * training.shape.hidden_size) as f64
        } else {
            0.0
        };
        let squeezed = if training.shape.logit_softcap > 0.0 { logits } else { 0.0 };
        // The logarithm of the softmax, the gradient of it, and that of the logits; where the loss takes the normaliser by itself, the
        // logits, their exponentials and two parts of their gradient.
        let at_worst = if training.takes_normalizer() { 3.0 } else { 2.0 };
        (logits + squeezed + weight, at_worst * logits)
    }
}
