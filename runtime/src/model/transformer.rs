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

use cupola_specs::job::{ModelShape, ModelType, Precision, Recompute, RopeScaling};
use tch::{Device, Kind, Tensor};

use super::ParamGroup;
use super::attention::{Sight, Span};
use super::block::{Angles, Block, Pass, Residual};
use super::kv_cache::{KvCache, RowSlot, cached_mask, rows_of, slot_index, slots_of, starts_of};
use super::layers::{Norm, linear, product_kind};
use super::lora::Module;
use super::module_names::Names;
use super::network::RowLayout;
use super::parameter::{Init, Source};
use super::rope::RopeTable;

/// What the number of keys behind a cache is rounded up to.
const LENGTH_STEP: u64 = 32;

/// The network's weights.
#[derive(Debug)]
pub struct Transformer {
    shape: ModelShape,
    embedding: Tensor,         // [V, C]
    positions: Option<Tensor>, // [P, C]
    blocks: Vec<Block>,
    norm: Norm,
    head: Tensor, // [V, C]
    rope: Option<RopeTable>,
}

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
        let value_embeddings: Vec<Option<Tensor>> = (0..layers).map(value_embedding).collect();
        let residual_scalars = shape.residual_scalars.then(|| {
            let mut scalars = |name: &str, value: f64| {
                source.weight(name, &[layers as i64], ParamGroup::Vector, Init::Constant(value))
            };
            (scalars("model.resid_lambdas", 1.0), scalars("model.x0_lambdas", 0.1))
        });
        let residual = |layer: u64| {
            let (stays, returns) = residual_scalars.as_ref()?;
            let (stays, returns) = (stays.shallow_clone(), returns.shallow_clone());
            Some(Residual { stays, returns, layer: layer as i64 })
        };
        let blocks = (0..layers)
            .zip(value_embeddings)
            .map(|(layer, table)| Block::build(shape, &names, layer, (table, residual(layer)), source))
            .collect();
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
        Self { shape: shape.clone(), embedding, positions, blocks, norm, head, rope }
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
        self.blocks.iter_mut().flat_map(Block::modules_mut).collect()
    }

    /// The last hidden state of each position.
    ///
    /// # Shapes
    /// `tokens [B, T]` → `[B, T, C]` in the kind of `precision`.
    pub fn hidden(
        &self,
        tokens: &Tensor,
        layout: &RowLayout,
        precision: Precision,
        recompute: Recompute,
    ) -> Tensor {
        let (batch, time) = tokens.size2().unwrap_or_default();
        let kind = product_kind(precision);
        // Packed documents are shorter than the positions, whatever the row is.
        let longest = if layout.positions().is_some() { 0 } else { time };
        let angles = self.angles(layout.positions(), longest, kind);
        let order = Tensor::arange(time, (Kind::Int64, tokens.device())).view([1, 1, time, 1]);
        let sight = self.sight(layout.attention_mask(time), &order, [batch, time, time], kind);
        let pass = Pass { tokens: tokens.shallow_clone(), angles, sight };
        let first = self.embed(tokens, layout.positions(), kind);
        let mut x = first.shallow_clone(); // [B, T, C]
        for block in &self.blocks {
            x = match recompute {
                Recompute::None => block.forward(&x, &first, &pass), // [B, T, C]
                Recompute::Blocks => block.recomputed(&x, &first, &pass), // [B, T, C]
            };
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
        let pass = Pass { tokens: tokens.shallow_clone(), angles, sight };
        let slots = slots_of(rows, device).unsqueeze(1); // [B, 1]
        let first = self.embed(tokens, Some(&positions), kind);
        let mut x = first.shallow_clone(); // [B, T, C]
        for (block, (keys, values)) in self.blocks.iter().zip(&mut cache.layers) {
            x = block.stream(&x, &first);
            let (q, k, v) = block.project(&x, &pass);
            for (store, new) in [(&mut *keys, &k), (&mut *values, &v)] {
                // Advanced indices around a slice come first: [B, T, K, D].
                let target = [Some(slots.shallow_clone()), None, Some(positions.shallow_clone())];
                let _ = store.index_put_(&target, &new.transpose(1, 2).to_kind(store.kind()), false);
            }
            let (k, v) = (
                rows_of(keys, index.as_ref(), batch, length),
                rows_of(values, index.as_ref(), batch, length),
            );
            x = block.finish(&x, [&q, &k, &v], &pass); // [B, T, C]
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

    /// Who sees whom in a pass of `[B, T, L]`, by layer.
    fn sight(&self, mask: Option<Tensor>, positions: &Tensor, sizes: [i64; 3], kind: Kind) -> Sight {
        let [batch, time, length] = sizes;
        let span = Span { batch, heads: self.shape.num_attention_heads as i64, time, length };
        let windows = self.blocks.iter().map(Block::window);
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
