//! The decoder-only transformer: RMS norm before each block, RoPE, grouped queries, SwiGLU or ReLU², optional norm on queries and keys.
//!
//! Papers: Vaswani et al. 2017 (arXiv:1706.03762), Touvron et al. 2023 (arXiv:2302.13971), Su et al. 2021 (arXiv:2104.09864), Shazeer 2020
//! (arXiv:2002.05202), Henry et al. 2020 (arXiv:2010.04245, query-key norm), So et al. 2021 (arXiv:2109.08668, ReLU²). No deviation from Hugging
//! Face's Qwen3 (query-key norm), Llama (without) and Arcee (ReLU²): their classes load the weights as they are.
//!
//! Shapes: `B` batch, `T` time, `C` channels, `H` query heads, `K` key-value heads, `D` head dim, `I` feed-forward width, `V` vocab.

use cupola_specs::job::{Activation, ModelShape, Precision};
use tch::{Device, Kind, Tensor};

use super::ParamGroup;
use super::attention::{Span, Visible};
use super::config::head_dim;
use super::kv_cache::{KvCache, RowSlot, cached_mask, rows_of, slot_index, slots_of, starts_of};
use super::layers::{linear, product_kind, rms_norm, rope_table, rotate};
use super::network::RowLayout;
use super::parameter::{Init, Source};

/// What the number of keys behind a cache is rounded up to.
const LENGTH_STEP: u64 = 32;

/// The network's weights.
#[derive(Debug)]
pub struct Transformer {
    shape: ModelShape,
    embedding: Tensor, // [V, C]
    blocks: Vec<Block>,
    norm: Tensor, // [C]
    head: Tensor, // [V, C]
    rope: (Tensor, Tensor),
}

#[derive(Debug)]
struct Block {
    input_norm: Tensor,                // [C]
    q: Tensor,                         // [H·D, C]
    k: Tensor,                         // [K·D, C]
    v: Tensor,                         // [K·D, C]
    o: Tensor,                         // [C, H·D]
    qk_norm: Option<(Tensor, Tensor)>, // [D]
    post_norm: Tensor,                 // [C]
    gate: Option<Tensor>,              // [I, C]
    up: Tensor,                        // [I, C]
    down: Tensor,                      // [C, I]
}

impl Transformer {
    /// Builds the network from a source of weights, asked in a fixed order.
    pub(super) fn build(
        shape: &ModelShape,
        vocab_size: i64,
        device: Device,
        source: &mut dyn Source,
    ) -> Self {
        let width = shape.hidden_size as i64;
        let embedding = source.weight(
            "model.embed_tokens.weight",
            &[vocab_size, width],
            ParamGroup::Embedding,
            Init::Normal(0.02),
        );
        let blocks = (0..shape.num_hidden_layers).map(|i| Block::build(shape, i, source)).collect();
        let norm = source.weight("model.norm.weight", &[width], ParamGroup::Vector, Init::Constant(1.0));
        let head = if shape.tie_word_embeddings {
            embedding.shallow_clone()
        } else {
            source.weight("lm_head.weight", &[vocab_size, width], ParamGroup::Head, Init::Constant(0.0))
        };
        let rope = rope_table(
            shape.max_position_embeddings as i64,
            head_dim(shape) as i64,
            shape.rope_theta,
            device,
        );
        Self { shape: shape.clone(), embedding, blocks, norm, head, rope }
    }

    /// Every size.
    pub fn shape(&self) -> &ModelShape {
        &self.shape
    }

    /// The last hidden state of each position.
    ///
    /// # Shapes
    /// `tokens [B, T]` → `[B, T, C]` in the kind of `precision`.
    pub fn hidden(&self, tokens: &Tensor, layout: &RowLayout, precision: Precision) -> Tensor {
        let (batch, time) = tokens.size2().unwrap_or_default();
        let kind = product_kind(precision);
        let (cos, sin) = self.rope_of(layout, time, kind);
        let visible = self.visible(layout.attention_mask(time), [batch, time, time], kind);
        let mut x = Tensor::embedding(&self.embedding, tokens, -1, false, false).to_kind(kind); // [B, T, C]
        for block in &self.blocks {
            let (q, k, v) = block.project(&x, &self.shape, (&cos, &sin)); // [B, H, T, D], [B, K, T, D]
            x = &x + block.attend(&q, &k, &v, &visible); // [B, T, C]
            x = &x + block.feed_forward(&x); // [B, T, C]
        }
        rms_norm(&x, &self.norm, kind)
    }

    /// The same for tokens that follow what `cache` holds; their keys and values are added to it.
    ///
    /// # Shapes
    /// `tokens [B, T]`, one [`RowSlot`] a row → `[B, T, C]`.
    pub fn hidden_cached(
        &self,
        tokens: &Tensor,
        cache: &mut KvCache,
        rows: &[RowSlot],
        precision: Precision,
    ) -> Tensor {
        let (batch, time) = tokens.size2().unwrap_or_default();
        let (kind, device) = (product_kind(precision), tokens.device());
        let fresh = rows.iter().all(|row| row.start == 0);
        let end = rows.iter().map(|row| row.start).max().unwrap_or(0) + time;
        // Few different lengths: oneDNN compiles each shape of a product anew. The mask hides what lies beyond a row's end.
        let length =
            if fresh { end } else { cache.max_len().min((end as u64).next_multiple_of(LENGTH_STEP) as i64) };
        let index = slot_index(rows, device);
        let positions =
            starts_of(rows, device).unsqueeze(1) + Tensor::arange(time, (Kind::Int64, device)).unsqueeze(0); // [B, T]
        let pick = |table: &Tensor| {
            table.index_select(0, &positions.view([-1])).view([batch, 1, time, -1]).to_kind(kind)
        };
        let (cos, sin) = (pick(&self.rope.0), pick(&self.rope.1)); // [B, 1, T, D]
        let mask = (!(fresh && time > 1)).then(|| cached_mask(rows, time, length, device)); // [B, 1, T, L]
        let visible = self.visible(mask, [batch, time, length], kind);
        let slots = slots_of(rows, device).unsqueeze(1); // [B, 1]
        let mut x = Tensor::embedding(&self.embedding, tokens, -1, false, false).to_kind(kind); // [B, T, C]
        for (block, (keys, values)) in self.blocks.iter().zip(&mut cache.layers) {
            let (q, k, v) = block.project(&x, &self.shape, (&cos, &sin));
            for (store, new) in [(&mut *keys, &k), (&mut *values, &v)] {
                // Advanced indices around a slice come first: [B, T, K, D].
                let target = [Some(slots.shallow_clone()), None, Some(positions.shallow_clone())];
                let _ = store.index_put_(&target, &new.transpose(1, 2).to_kind(store.kind()), false);
            }
            let (k, v) = (
                rows_of(keys, index.as_ref(), batch, length),
                rows_of(values, index.as_ref(), batch, length),
            );
            x = &x + block.attend(&q, &k, &v, &visible); // [B, T, C]
            x = &x + block.feed_forward(&x); // [B, T, C]
        }
        rms_norm(&x, &self.norm, kind)
    }

    /// Scores of every token after each position.
    ///
    /// # Shapes
    /// `hidden [.., C]` → `[.., V]` in fp32.
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        linear(hidden, &self.head).to_kind(Kind::Float) // [.., V]
    }

    /// An empty cache.
    pub fn new_cache(&self, slots: i64, max_len: i64, precision: Precision) -> KvCache {
        let size = [slots, self.shape.num_key_value_heads as i64, max_len, head_dim(&self.shape) as i64];
        KvCache::new(self.shape.num_hidden_layers, size, max_len, precision, self.embedding.device())
    }

    /// Who sees whom in a pass of `[B, T, L]`.
    fn visible(&self, mask: Option<Tensor>, [batch, time, length]: [i64; 3], kind: Kind) -> Visible {
        let span = Span { batch, heads: self.shape.num_attention_heads as i64, time, length };
        Visible::new(mask, span, kind, self.embedding.device())
    }

    fn rope_of(&self, layout: &RowLayout, time: i64, kind: Kind) -> (Tensor, Tensor) {
        let pick = |table: &Tensor| match layout.positions() {
            None => table.narrow(0, 0, time), // [T, D]
            Some(positions) => {
                let batch = positions.size().first().copied().unwrap_or(1);
                table.index_select(0, &positions.view([-1])).view([batch, 1, time, -1]) // [B, 1, T, D]
            }
        };
        (pick(&self.rope.0).to_kind(kind), pick(&self.rope.1).to_kind(kind))
    }
}

impl Block {
    fn build(shape: &ModelShape, layer: u64, source: &mut dyn Source) -> Self {
        let (c, i, d) = (shape.hidden_size as i64, shape.intermediate_size as i64, head_dim(shape) as i64);
        let (h, k) = (shape.num_attention_heads as i64, shape.num_key_value_heads as i64);
        let gated = shape.activation == Activation::Swiglu;
        let spread = Init::Uniform((3.0 / c as f64).sqrt());
        let mut weight = |name: &str, size: &[i64], init: Init| {
            let group = if size.len() == 1 { ParamGroup::Vector } else { ParamGroup::Matrix };
            source.weight(&format!("model.layers.{layer}.{name}.weight"), size, group, init)
        };
        let (one, zero) = (Init::Constant(1.0), Init::Constant(0.0));
        Self {
            input_norm: weight("input_layernorm", &[c], one),
            q: weight("self_attn.q_proj", &[h * d, c], spread),
            k: weight("self_attn.k_proj", &[k * d, c], spread),
            v: weight("self_attn.v_proj", &[k * d, c], spread),
            o: weight("self_attn.o_proj", &[c, h * d], zero),
            qk_norm: shape
                .qk_norm
                .then(|| (weight("self_attn.q_norm", &[d], one), weight("self_attn.k_norm", &[d], one))),
            post_norm: weight("post_attention_layernorm", &[c], one),
            gate: gated.then(|| weight("mlp.gate_proj", &[i, c], spread)),
            up: weight("mlp.up_proj", &[i, c], spread),
            down: weight("mlp.down_proj", &[c, i], zero),
        }
    }

    /// Queries, keys and values of `x [B, T, C]`, normed and rotated: `[B, H, T, D]` and twice `[B, K, T, D]`.
    fn project(&self, x: &Tensor, shape: &ModelShape, rope: (&Tensor, &Tensor)) -> (Tensor, Tensor, Tensor) {
        let (batch, time, _) = x.size3().unwrap_or_default();
        let (d, kind) = (head_dim(shape) as i64, x.kind());
        let fused = Tensor::cat(&[&self.q, &self.k, &self.v], 0); // [(H+2K)·D, C]
        let parts = linear(&rms_norm(x, &self.input_norm, kind), &fused).view([batch, time, -1, d]); // [B, T, H+2K, D]
        let (h, k) = (shape.num_attention_heads as i64, shape.num_key_value_heads as i64);
        let heads = |from: i64, count: i64| parts.narrow(2, from, count).transpose(1, 2); // [B, count, T, D]
        let (mut q, mut keys, v) = (heads(0, h), heads(h, k), heads(h + k, k));
        if let Some((q_gain, k_gain)) = &self.qk_norm {
            q = rms_norm(&q, q_gain, kind);
            keys = rms_norm(&keys, k_gain, kind);
        }
        (rotate(&q, rope.0, rope.1), rotate(&keys, rope.0, rope.1), v)
    }

    /// Attention's part of the residual stream: `q [B, H, T, D]` over `k, v [B, K, L, D]` → `[B, T, C]`.
    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, visible: &Visible) -> Tensor {
        let (batch, _, time, _) = q.size4().unwrap_or_default();
        let mixed = visible.attend(q, k, v); // [B, H, T, D]
        linear(&mixed.transpose(1, 2).reshape([batch, time, -1]), &self.o) // [B, T, C]
    }

    /// The feed-forward part of the residual stream: `[B, T, C]` → `[B, T, C]`.
    fn feed_forward(&self, x: &Tensor) -> Tensor {
        let normed = rms_norm(x, &self.post_norm, x.kind());
        let inner = match &self.gate {
            Some(gate) => {
                let both = linear(&normed, &Tensor::cat(&[gate, &self.up], 0)).chunk(2, -1); // twice [B, T, I]
                both[0].silu() * &both[1]
            }
            None => linear(&normed, &self.up).relu().square(), // [B, T, I]
        };
        linear(&inner, &self.down) // [B, T, C]
    }
}
