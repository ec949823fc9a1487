//! The decoder-only transformer: a norm before each block, grouped queries, positions by RoPE or learned; its parts as the shape says.
//!
//! Papers: Vaswani et al. 2017 (arXiv:1706.03762), Radford et al. 2019 (GPT-2), Touvron et al. 2023 (arXiv:2302.13971), Jiang et al. 2023
//! (arXiv:2310.06825, sliding window), Shazeer 2020 (arXiv:2002.05202), Henry et al. 2020 (arXiv:2010.04245, query-key norm), So et al. 2021
//! (arXiv:2109.08668, ReLU²), Zhou et al. 2024 (arXiv:2410.17897, value residual). No deviation from Hugging Face's Llama, Qwen2, Qwen3, Mistral,
//! GPT-2, Arcee and NanoChat: their classes load the weights as they are. None of them drops out while it trains here.
//!
//! Value embeddings and residual scalars are nanochat's (Karpathy, 2026), which Hugging Face's class lacks: every second layer adds
//! `2·σ(gate(x))` times an embedding of the token to its values, the gate reading the first 32 channels; before layer i the stream is
//! `resid_lambdas[i]·x + x0_lambdas[i]·x0`. Nanochat's smear, back-out and sharpened scores are not there.
//!
//! Shapes: `B` batch, `T` time, `C` channels, `H` query heads, `K` key-value heads, `D` head dim, `I` feed-forward width, `V` vocab.

use cupola_specs::job::{Activation, LoraTarget, ModelShape, ModelType, Precision, RopeScaling};
use tch::{Device, Kind, Tensor};

use super::ParamGroup;
use super::attention::{Sight, Span, Visible};
use super::kv_cache::{KvCache, RowSlot, cached_mask, rows_of, slot_index, slots_of, starts_of};
use super::layers::{Layout, Linear, Norm, NormKind, linear, product_kind};
use super::lora::Module;
use super::network::RowLayout;
use super::parameter::{Init, Source};
use super::rope::{RopeTable, rotate};

/// What the number of keys behind a cache is rounded up to.
const LENGTH_STEP: u64 = 32;
/// Channels that the gate of a value embedding reads.
const GATE_CHANNELS: i64 = 32;

/// The network's weights.
#[derive(Debug)]
pub struct Transformer {
    shape: ModelShape,
    embedding: Tensor,                          // [V, C]
    positions: Option<Tensor>,                  // [P, C]
    value_embeddings: Vec<Option<Tensor>>,      // [V, K·D]
    residual_scalars: Option<(Tensor, Tensor)>, // [layers]
    blocks: Vec<Block>,
    norm: Norm,
    head: Tensor, // [V, C]
    rope: Option<RopeTable>,
}

#[derive(Debug)]
struct Block {
    input_norm: Norm,
    attention: Attention,
    post_norm: Norm,
    feed_forward: FeedForward,
    window: u64,
}

#[derive(Debug)]
struct Attention {
    inputs: Vec<Linear>, // queries, keys and values apart, or all in one
    output: Linear,
    qk_norm: Option<(Norm, Norm)>,
    value_gate: Option<Tensor>, // [K, G]
}

#[derive(Debug)]
struct FeedForward {
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    activation: Activation,
}

/// Cosines and sines of a pass, each `[T, D]` or `[B, 1, T, D]` in its kind.
type Angles = (Tensor, Tensor);

impl Transformer {
    /// Builds the network from a source of weights, asked in a fixed order.
    pub(super) fn build(
        shape: &ModelShape,
        vocab_size: i64,
        device: Device,
        source: &mut dyn Source,
    ) -> Self {
        let (width, layers) = (shape.hidden_size as i64, shape.num_hidden_layers);
        let names = Names::of(shape.model_type);
        // A tied embedding scores its own token by width times deviation: no more than 5, or the first loss is far from ln V.
        let deviation = if shape.tie_word_embeddings { (5.0 / width as f64).min(0.02) } else { 0.02 };
        let mut table = |name: &str, size: [i64; 2]| {
            source.weight(name, &size, ParamGroup::Embedding, Init::Normal(deviation))
        };
        let embedding = table(names.embedding, [vocab_size, width]);
        let positions = (shape.model_type == ModelType::Gpt2)
            .then(|| table("transformer.wpe.weight", [shape.max_position_embeddings as i64, width]));
        let value_width = (shape.num_key_value_heads * shape.head_dim) as i64;
        // They start like what they are added to.
        let spread = Init::Uniform((3.0 / width as f64).sqrt());
        let value_embedding = |layer: u64| {
            let name = format!("model.value_embeds.{layer}.weight");
            let size = [vocab_size, value_width];
            shape
                .has_value_embedding(layer)
                .then(|| source.weight(&name, &size, ParamGroup::ValueEmbedding, spread))
        };
        let value_embeddings = (0..layers).map(value_embedding).collect();
        let residual_scalars = shape.residual_scalars.then(|| {
            let mut scalars = |name: &str, value: f64| {
                source.weight(name, &[layers as i64], ParamGroup::Vector, Init::Constant(value))
            };
            (scalars("model.resid_lambdas", 1.0), scalars("model.x0_lambdas", 0.1))
        });
        let blocks = (0..layers).map(|layer| Block::build(shape, &names, layer, source)).collect();
        let norm = Norm::build(names.norm_kind, names.norm, width, shape.norm_eps, source);
        let head = if shape.tie_word_embeddings {
            embedding.shallow_clone()
        } else {
            source.weight("lm_head.weight", &[vocab_size, width], ParamGroup::Head, Init::Constant(0.0))
        };
        let rope = shape
            .model_type
            .facts()
            .has_rope
            .then(|| RopeTable::new(shape, shape.max_position_embeddings as i64, device));
        Self {
            shape: shape.clone(),
            embedding,
            positions,
            value_embeddings,
            residual_scalars,
            blocks,
            norm,
            head,
            rope,
        }
    }

    /// Every size.
    pub fn shape(&self) -> &ModelShape {
        &self.shape
    }

    /// Gives RoPE another base, stretch and reach; false where the network has no RoPE.
    pub(super) fn set_rope(&mut self, theta: f64, scaling: RopeScaling, max_positions: u64) -> bool {
        if self.rope.is_none() {
            return false;
        }
        self.shape.rope_theta = theta;
        self.shape.rope_scaling = scaling;
        self.shape.max_position_embeddings = max_positions;
        self.rope = Some(RopeTable::new(&self.shape, max_positions as i64, self.embedding.device()));
        true
    }

    /// The modules of every layer that an adapter fits.
    pub(super) fn modules_mut(&mut self) -> Vec<Module<'_>> {
        use LoraTarget::{Down, Gate, K, O, Q, Up, V};
        let apart: &[&[LoraTarget]] = &[&[Q], &[K], &[V]];
        let mut modules: Vec<Module> = Vec::new();
        for Block { attention, feed_forward, .. } in &mut self.blocks {
            let inputs = if attention.inputs.len() == 1 { &[[Q, K, V].as_slice()] } else { apart };
            modules.extend(inputs.iter().copied().zip(&mut attention.inputs));
            modules.push((&[O], &mut attention.output));
            modules.extend(feed_forward.gate.as_mut().map(|gate| ([Gate].as_slice(), gate)));
            modules.push((&[Up], &mut feed_forward.up));
            modules.push((&[Down], &mut feed_forward.down));
        }
        modules
    }

    /// The last hidden state of each position.
    ///
    /// # Shapes
    /// `tokens [B, T]` → `[B, T, C]` in the kind of `precision`.
    pub fn hidden(&self, tokens: &Tensor, layout: &RowLayout, precision: Precision) -> Tensor {
        let (batch, time) = tokens.size2().unwrap_or_default();
        let kind = product_kind(precision);
        // Packed documents are shorter than the positions, whatever the row is.
        let longest = if layout.positions().is_some() { 0 } else { time };
        let angles = self.angles(layout.positions(), longest, kind);
        let order = Tensor::arange(time, (Kind::Int64, tokens.device())).view([1, 1, time, 1]);
        let sight = self.sight(layout.attention_mask(time), &order, [batch, time, time], kind);
        let first = self.embed(tokens, layout.positions(), kind);
        let mut x = first.shallow_clone(); // [B, T, C]
        for (layer, block) in self.blocks.iter().enumerate() {
            x = self.stream(layer, x, &first);
            let values = self.values_of(layer, tokens, kind); // [B, T, K·D]
            let (q, k, v) = block.project(&x, &self.shape, angles.as_ref(), values.as_ref()); // [B, H, T, D], [B, K, T, D]
            x = &x + block.attention.mix(&q, &k, &v, sight.of(block.window)); // [B, T, C]
            x = &x + block.feed_forward(&x); // [B, T, C]
        }
        self.norm.apply(&x, kind)
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
        let angles = self.angles(Some(&positions), 0, kind);
        let mask = (!(fresh && time > 1)).then(|| cached_mask(rows, time, length, device)); // [B, 1, T, L]
        let sight = self.sight(mask, &positions.view([batch, 1, time, 1]), [batch, time, length], kind);
        let slots = slots_of(rows, device).unsqueeze(1); // [B, 1]
        let first = self.embed(tokens, Some(&positions), kind);
        let mut x = first.shallow_clone(); // [B, T, C]
        for (layer, (block, (keys, values))) in self.blocks.iter().zip(&mut cache.layers).enumerate() {
            x = self.stream(layer, x, &first);
            let own = self.values_of(layer, tokens, kind); // [B, T, K·D]
            let (q, k, v) = block.project(&x, &self.shape, angles.as_ref(), own.as_ref());
            for (store, new) in [(&mut *keys, &k), (&mut *values, &v)] {
                // Advanced indices around a slice come first: [B, T, K, D].
                let target = [Some(slots.shallow_clone()), None, Some(positions.shallow_clone())];
                let _ = store.index_put_(&target, &new.transpose(1, 2).to_kind(store.kind()), false);
            }
            let (k, v) = (
                rows_of(keys, index.as_ref(), batch, length),
                rows_of(values, index.as_ref(), batch, length),
            );
            x = &x + block.attention.mix(&q, &k, &v, sight.of(block.window)); // [B, T, C]
            x = &x + block.feed_forward(&x); // [B, T, C]
        }
        self.norm.apply(&x, kind)
    }

    /// Scores of every token after each position.
    ///
    /// # Shapes
    /// `hidden [.., C]` → `[.., V]` in fp32.
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        let logits = linear(hidden, &self.head).to_kind(Kind::Float); // [.., V]
        match self.shape.logit_softcap {
            cap if cap > 0.0 => (logits / cap).tanh() * cap,
            _ => logits,
        }
    }

    /// An empty cache.
    pub fn new_cache(&self, slots: i64, max_len: i64, precision: Precision) -> KvCache {
        let size = [slots, self.shape.num_key_value_heads as i64, max_len, self.shape.head_dim as i64];
        KvCache::new(self.shape.num_hidden_layers, size, max_len, precision, self.embedding.device())
    }

    /// `tokens [B, T]` at `positions [B, T]`, or at 0 to T-1 → `[B, T, C]` in `kind`.
    fn embed(&self, tokens: &Tensor, positions: Option<&Tensor>, kind: Kind) -> Tensor {
        let time = tokens.size()[1];
        let mut x = Tensor::embedding(&self.embedding, tokens, -1, false, false).to_kind(kind); // [B, T, C]
        if let Some(table) = &self.positions {
            let places = match positions {
                None => table.narrow(0, 0, time), // [T, C]
                Some(positions) => Tensor::embedding(table, positions, -1, false, false), // [B, T, C]
            };
            x = &x + places.to_kind(kind);
        }
        if self.shape.model_type == ModelType::Nanochat {
            return self.norm.apply(&x, kind);
        }
        x
    }

    /// The residual stream `[B, T, C]` into a layer.
    fn stream(&self, layer: usize, x: Tensor, first: &Tensor) -> Tensor {
        match &self.residual_scalars {
            Some((stays, returns)) => x * stays.get(layer as i64) + first * returns.get(layer as i64),
            None => x,
        }
    }

    /// What a layer adds to the values of `tokens [B, T]`, before its gate: `[B, T, K·D]`.
    fn values_of(&self, layer: usize, tokens: &Tensor, kind: Kind) -> Option<Tensor> {
        let table = self.value_embeddings.get(layer)?.as_ref()?;
        Some(Tensor::embedding(table, tokens, -1, false, false).to_kind(kind))
    }

    /// Who sees whom in a pass of `[B, T, L]`, by layer.
    fn sight(&self, mask: Option<Tensor>, positions: &Tensor, sizes: [i64; 3], kind: Kind) -> Sight {
        let [batch, time, length] = sizes;
        let span = Span { batch, heads: self.shape.num_attention_heads as i64, time, length };
        let windows = self.blocks.iter().map(|block| block.window);
        Sight::new(mask, positions, windows, span, (kind, self.embedding.device()))
    }

    /// The rotations at `positions [B, T]`, all of them within the network's own, or at 0 to `time` - 1.
    fn angles(&self, positions: Option<&Tensor>, time: i64, kind: Kind) -> Option<Angles> {
        let held = self.rope.as_ref()?;
        let is_longer = time > self.shape.max_position_embeddings as i64 && RopeTable::grows(&self.shape);
        let longer = is_longer.then(|| RopeTable::new(&self.shape, time, self.embedding.device()));
        let table = longer.as_ref().unwrap_or(held);
        let pick = |table: &Tensor| match positions {
            None => table.narrow(0, 0, time).to_kind(kind), // [T, D]
            Some(positions) => {
                let (batch, time) = positions.size2().unwrap_or_default();
                table.index_select(0, &positions.view([-1])).view([batch, 1, time, -1]).to_kind(kind) // [B, 1, T, D]
            }
        };
        Some((pick(&table.cos), pick(&table.sin)))
    }
}

impl Block {
    fn build(shape: &ModelShape, names: &Names, layer: u64, source: &mut dyn Source) -> Self {
        let width = shape.hidden_size as i64;
        let norm = |module: &str, source: &mut dyn Source| {
            let module = format!("{}.{layer}.{module}", names.layers);
            Norm::build(names.norm_kind, &module, width, shape.norm_eps, source)
        };
        Self {
            input_norm: norm(names.input_norm, source),
            attention: Attention::build(shape, names, layer, source),
            post_norm: norm(names.post_norm, source),
            feed_forward: FeedForward::build(shape, names, layer, source),
            window: shape.window_of(layer),
        }
    }

    /// Queries, keys and values of `x [B, T, C]`, normed and rotated: `[B, H, T, D]` and twice `[B, K, T, D]`.
    fn project(
        &self,
        x: &Tensor,
        shape: &ModelShape,
        angles: Option<&Angles>,
        values: Option<&Tensor>,
    ) -> (Tensor, Tensor, Tensor) {
        let (batch, time, _) = x.size3().unwrap_or_default();
        let (d, kind) = (shape.head_dim as i64, x.kind());
        let attention = &self.attention;
        let normed = self.input_norm.apply(x, kind); // [B, T, C]
        let inputs: Vec<&Linear> = attention.inputs.iter().collect();
        let parts = Linear::joined(&inputs, &normed).view([batch, time, -1, d]); // [B, T, H+2K, D]
        let (h, k) = (shape.num_attention_heads as i64, shape.num_key_value_heads as i64);
        let heads = |from: i64, count: i64| parts.narrow(2, from, count).transpose(1, 2); // [B, count, T, D]
        let (q, keys, mut v) = (heads(0, h), heads(h, k), heads(h + k, k));
        if let (Some(values), Some(gate)) = (values, &attention.value_gate) {
            let read = normed.narrow(2, 0, gate.size()[1]); // [B, T, G]
            let gate = linear(&read, gate).sigmoid() * 2.0; // [B, T, K]
            let values = values.view([batch, time, k, d]) * gate.unsqueeze(-1); // [B, T, K, D]
            v = &v + values.transpose(1, 2);
        }
        let turned = |x: Tensor| match angles {
            Some((cos, sin)) => rotate(&x, cos, sin),
            None => x,
        };
        match &attention.qk_norm {
            // Nanochat norms what is rotated; the others rotate what is normed.
            Some((q_norm, k_norm)) if shape.model_type == ModelType::Nanochat => {
                (q_norm.apply(&turned(q), kind), k_norm.apply(&turned(keys), kind), v)
            }
            Some((q_norm, k_norm)) => (turned(q_norm.apply(&q, kind)), turned(k_norm.apply(&keys, kind)), v),
            None => (turned(q), turned(keys), v),
        }
    }

    /// The feed-forward part of the residual stream: `[B, T, C]` → `[B, T, C]`.
    fn feed_forward(&self, x: &Tensor) -> Tensor {
        self.feed_forward.forward(&self.post_norm.apply(x, x.kind()))
    }
}

impl Attention {
    fn build(shape: &ModelShape, names: &Names, layer: u64, source: &mut dyn Source) -> Self {
        let (c, d) = (shape.hidden_size as i64, shape.head_dim as i64);
        let (q, k) = (shape.num_attention_heads as i64 * d, shape.num_key_value_heads as i64 * d);
        let module = |name: &str| format!("{}.{layer}.{name}", names.layers);
        let spread = Init::Uniform((3.0 / c as f64).sqrt());
        let has_bias = shape.attention_bias;
        let sizes = if names.inputs.len() == 1 { vec![q + 2 * k] } else { vec![q, k, k] };
        let inputs = names
            .inputs
            .iter()
            .zip(sizes)
            .map(|(name, size)| {
                Linear::build(&module(name), [size, c], (names.layout, has_bias), spread, source)
            })
            .collect();
        // Qwen2's only product without a bias.
        let output_bias = has_bias && shape.model_type != ModelType::Qwen2;
        let output = Linear::build(
            &module(names.output),
            [c, q],
            (names.layout, output_bias),
            Init::Constant(0.0),
            source,
        );
        let mut norm = |name: &str| {
            let kind = if names.norm_kind == NormKind::Plain { NormKind::Plain } else { NormKind::Rms };
            Norm::build(kind, &module(name), d, shape.norm_eps, source)
        };
        let qk_norm = shape.qk_norm.then(|| (norm("self_attn.q_norm"), norm("self_attn.k_norm")));
        let value_gate = shape.has_value_embedding(layer).then(|| {
            let size = [shape.num_key_value_heads as i64, GATE_CHANNELS.min(c)];
            let name = module("self_attn.ve_gate.weight");
            source.weight(&name, &size, ParamGroup::Matrix, Init::Constant(0.0))
        });
        Self { inputs, output, qk_norm, value_gate }
    }

    /// Attention's part of the residual stream: `q [B, H, T, D]` over `k, v [B, K, L, D]` → `[B, T, C]`.
    fn mix(&self, q: &Tensor, k: &Tensor, v: &Tensor, visible: &Visible) -> Tensor {
        let (batch, _, time, _) = q.size4().unwrap_or_default();
        let mixed = visible.attend(q, k, v); // [B, H, T, D]
        self.output.forward(&mixed.transpose(1, 2).reshape([batch, time, -1])) // [B, T, C]
    }
}

impl FeedForward {
    fn build(shape: &ModelShape, names: &Names, layer: u64, source: &mut dyn Source) -> Self {
        let (c, i) = (shape.hidden_size as i64, shape.intermediate_size as i64);
        let spread = Init::Uniform((3.0 / c as f64).sqrt());
        let mut module = |name: &str, size: [i64; 2], init: Init| {
            let name = format!("{}.{layer}.mlp.{name}", names.layers);
            Linear::build(&name, size, (names.layout, shape.mlp_bias), init, source)
        };
        let is_gated = shape.activation == Activation::Swiglu;
        Self {
            gate: is_gated.then(|| module("gate_proj", [i, c], spread)),
            up: module(names.up, [i, c], spread),
            down: module(names.down, [c, i], Init::Constant(0.0)),
            activation: shape.activation,
        }
    }

    /// `[B, T, C]` → `[B, T, C]`.
    fn forward(&self, x: &Tensor) -> Tensor {
        let inner = match (&self.gate, self.activation) {
            (Some(gate), _) => {
                let both = Linear::joined(&[gate, &self.up], x).chunk(2, -1); // twice [B, T, I]
                both[0].silu() * &both[1]
            }
            (None, Activation::GeluNew) => self.up.forward(x).gelu("tanh"), // [B, T, I]
            (None, _) => self.up.forward(x).relu().square(),                // [B, T, I]
        };
        self.down.forward(&inner) // [B, T, C]
    }
}

/// Hugging Face's names of a class's modules, the layout of its matrices and its norm.
struct Names {
    embedding: &'static str,
    layers: &'static str,
    input_norm: &'static str,
    inputs: &'static [&'static str],
    output: &'static str,
    post_norm: &'static str,
    up: &'static str,
    down: &'static str,
    norm: &'static str,
    norm_kind: NormKind,
    layout: Layout,
}

impl Names {
    fn of(model_type: ModelType) -> Self {
        let llama = Self {
            embedding: "model.embed_tokens.weight",
            layers: "model.layers",
            input_norm: "input_layernorm",
            inputs: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            output: "self_attn.o_proj",
            post_norm: "post_attention_layernorm",
            up: "up_proj",
            down: "down_proj",
            norm: "model.norm",
            norm_kind: NormKind::Rms,
            layout: Layout::OutIn,
        };
        match model_type {
            ModelType::Gpt2 => Self {
                embedding: "transformer.wte.weight",
                layers: "transformer.h",
                input_norm: "ln_1",
                inputs: &["attn.c_attn"],
                output: "attn.c_proj",
                post_norm: "ln_2",
                up: "c_fc",
                down: "c_proj",
                norm: "transformer.ln_f",
                norm_kind: NormKind::Layer,
                layout: Layout::InOut,
            },
            ModelType::Nanochat => Self { up: "fc1", down: "fc2", norm_kind: NormKind::Plain, ..llama },
            _ => llama,
        }
    }
}
