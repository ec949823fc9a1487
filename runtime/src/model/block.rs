//! A layer of the transformer: attention and a feed-forward network, each behind a norm and beside the residual stream.
//!
//! A block can be computed again in backward instead of keeping what it computed (`recompute: blocks`): then it is run by handles of its
//! own weights, since backward may have a thread of its own.
//!
//! Shapes: `B` batch, `T` time, `L` keys, `C` channels, `H` query heads, `K` key-value heads, `D` head dim, `I` feed-forward width, `V` vocab.

use cupola_kernels::{Randomness, recompute};
use cupola_specs::job::{Activation, LoraTarget, ModelShape, ModelType};
use tch::Tensor;

use super::ParamGroup;
use super::attention::{Sight, Visible};
use super::layers::{Linear, Norm, NormKind, linear};
use super::lora::Module;
use super::module_names::Names;
use super::parameter::{Init, Source};
use super::rope::rotate;

/// Channels that the gate of a value embedding reads.
const GATE_CHANNELS: i64 = 32;

/// Cosines and sines of a pass, each `[T, D]` or `[B, 1, T, D]` in its kind.
pub(super) type Angles = (Tensor, Tensor);

/// What a pass gives each of its blocks.
#[derive(Debug)]
pub(super) struct Pass {
    /// `[B, T]`
    pub tokens: Tensor,
    /// The rotations, where positions are rotary.
    pub angles: Option<Angles>,
    /// Who sees whom.
    pub sight: Sight,
}

impl Pass {
    fn handle(&self) -> Self {
        Self {
            tokens: self.tokens.shallow_clone(),
            angles: self.angles.as_ref().map(|(cos, sin)| (cos.shallow_clone(), sin.shallow_clone())),
            sight: self.sight.handle(),
        }
    }
}

/// A layer's weights.
#[derive(Debug)]
pub(super) struct Block {
    input_norm: Norm,
    attention: Attention,
    post_norm: Norm,
    feed_forward: FeedForward,
    window: u64,
    value_embedding: Option<Tensor>, // [V, K·D]
    residual: Option<Residual>,
}

/// What the residual stream and the first embedding are multiplied by before a layer.
#[derive(Debug)]
pub(super) struct Residual {
    /// By layer, of the stream: `[layers]`.
    pub stays: Tensor,
    /// By layer, of the first embedding: `[layers]`.
    pub returns: Tensor,
    /// Which layer.
    pub layer: i64,
}

#[derive(Debug)]
struct Attention {
    inputs: Vec<Linear>, // queries, keys and values apart, or all in one
    output: Linear,
    qk_norm: Option<(Norm, Norm)>,
    value_gate: Option<Tensor>, // [K, G]
    sizes: Heads,
}

/// The heads of a layer.
#[derive(Debug, Clone, Copy)]
struct Heads {
    queries: i64,
    keys: i64,
    dim: i64,
    /// Nanochat norms what is rotated; the others rotate what is normed.
    is_rotated_first: bool,
}

#[derive(Debug)]
struct FeedForward {
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl Block {
    /// The block of a layer; `value_embedding` and `residual` are its part of what lies outside of the layers.
    pub(super) fn build(
        shape: &ModelShape,
        names: &Names,
        layer: u64,
        (value_embedding, residual): (Option<Tensor>, Option<Residual>),
        source: &mut dyn Source,
    ) -> Self {
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
            value_embedding,
            residual,
        }
    }

    /// Keys that its queries see, the own one included; 0 sees all.
    pub(super) fn window(&self) -> u64 {
        self.window
    }

    /// Its modules that an adapter fits.
    pub(super) fn modules_mut(&mut self) -> Vec<Module<'_>> {
        use LoraTarget::{Down, Gate, K, O, Q, Up, V};
        let apart: &[&[LoraTarget]] = &[&[Q], &[K], &[V]];
        let Self { attention, feed_forward, .. } = self;
        let inputs = if attention.inputs.len() == 1 { &[[Q, K, V].as_slice()] } else { apart };
        let mut modules: Vec<Module> = inputs.iter().copied().zip(&mut attention.inputs).collect();
        modules.push((&[O], &mut attention.output));
        modules.extend(feed_forward.gate.as_mut().map(|gate| ([Gate].as_slice(), gate)));
        modules.push((&[Up], &mut feed_forward.up));
        modules.push((&[Down], &mut feed_forward.down));
        modules
    }

    /// The residual stream behind the block.
    ///
    /// # Shapes
    /// `x [B, T, C]`, the first embedding `first [B, T, C]` → `[B, T, C]`.
    pub(super) fn forward(&self, x: &Tensor, first: &Tensor, pass: &Pass) -> Tensor {
        let x = self.stream(x, first); // [B, T, C]
        let (q, k, v) = self.project(&x, pass); // [B, H, T, D], [B, K, T, D]
        self.finish(&x, [&q, &k, &v], pass)
    }

    /// [`Block::forward`], of which nothing but the inputs is kept for backward.
    pub(super) fn recomputed(&self, x: &Tensor, first: &Tensor, pass: &Pass) -> Tensor {
        let (block, pass) = (self.handle(), pass.handle());
        // Gradients are summed in the order of the inputs: here as without recomputation, or a sum of three has other bits.
        let inputs = if self.residual.is_some() { vec![first, x] } else { vec![x] };
        let last = inputs.len() - 1;
        let part = move |inputs: &[Tensor]| Ok(vec![block.forward(&inputs[last], &inputs[0], &pass)]);
        match recompute(part, &inputs, Randomness::None) {
            Ok(mut outputs) => outputs.swap_remove(0), // [B, T, C]
            Err(error) => panic!("a block that is computed again: {error}"),
        }
    }

    /// What `q [B, H, T, D]` over `k, v [B, K, L, D]` and the feed-forward network add to the stream `x [B, T, C]`, and it.
    pub(super) fn finish(&self, x: &Tensor, [q, k, v]: [&Tensor; 3], pass: &Pass) -> Tensor {
        let x = x + self.attention.mix(q, k, v, pass.sight.of(self.window)); // [B, T, C]
        &x + self.feed_forward.forward(&self.post_norm.apply(&x, x.kind())) // [B, T, C]
    }

    /// The residual stream `[B, T, C]` into the block.
    pub(super) fn stream(&self, x: &Tensor, first: &Tensor) -> Tensor {
        match &self.residual {
            Some(Residual { stays, returns, layer }) => x * stays.get(*layer) + first * returns.get(*layer),
            None => x.shallow_clone(),
        }
    }

    /// Queries, keys and values of the stream `x [B, T, C]`, normed and rotated: `[B, H, T, D]` and twice `[B, K, T, D]`.
    pub(super) fn project(&self, x: &Tensor, pass: &Pass) -> (Tensor, Tensor, Tensor) {
        let (batch, time, _) = x.size3().unwrap_or_default();
        let (attention, kind) = (&self.attention, x.kind());
        let Heads { queries: h, keys: k, dim: d, is_rotated_first } = attention.sizes;
        let values = self.value_embedding.as_ref().map(|table| {
            Tensor::embedding(table, &pass.tokens, -1, false, false).to_kind(kind) // [B, T, K·D]
        });
        let normed = self.input_norm.apply(x, kind); // [B, T, C]
        let inputs: Vec<&Linear> = attention.inputs.iter().collect();
        let parts = Linear::joined(&inputs, &normed).view([batch, time, -1, d]); // [B, T, H+2K, D]
        let heads = |from: i64, count: i64| parts.narrow(2, from, count).transpose(1, 2); // [B, count, T, D]
        let (q, keys, mut v) = (heads(0, h), heads(h, k), heads(h + k, k));
        if let (Some(values), Some(gate)) = (values, &attention.value_gate) {
            let read = normed.narrow(2, 0, gate.size()[1]); // [B, T, G]
            let gate = linear(&read, gate).sigmoid() * 2.0; // [B, T, K]
            let values = values.view([batch, time, k, d]) * gate.unsqueeze(-1); // [B, T, K, D]
            v = &v + values.transpose(1, 2);
        }
        let turned = |x: Tensor| match &pass.angles {
            Some((cos, sin)) => rotate(&x, cos, sin),
            None => x,
        };
        match &attention.qk_norm {
            Some((q_norm, k_norm)) if is_rotated_first => {
                (q_norm.apply(&turned(q), kind), k_norm.apply(&turned(keys), kind), v)
            }
            Some((q_norm, k_norm)) => (turned(q_norm.apply(&q, kind)), turned(k_norm.apply(&keys, kind)), v),
            None => (turned(q), turned(keys), v),
        }
    }

    /// The same block, its adapters as they are in this pass.
    fn handle(&self) -> Self {
        Self {
            input_norm: self.input_norm.handle(),
            attention: self.attention.handle(),
            post_norm: self.post_norm.handle(),
            feed_forward: self.feed_forward.handle(),
            window: self.window,
            value_embedding: self.value_embedding.as_ref().map(Tensor::shallow_clone),
            residual: self.residual.as_ref().map(Residual::handle),
        }
    }
}

impl Residual {
    fn handle(&self) -> Self {
        Self { stays: self.stays.shallow_clone(), returns: self.returns.shallow_clone(), ..*self }
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
        let sizes = Heads {
            queries: shape.num_attention_heads as i64,
            keys: shape.num_key_value_heads as i64,
            dim: d,
            is_rotated_first: shape.model_type == ModelType::Nanochat,
        };
        Self { inputs, output, qk_norm, value_gate, sizes }
    }

    fn handle(&self) -> Self {
        Self {
            inputs: self.inputs.iter().map(Linear::handle).collect(),
            output: self.output.handle(),
            qk_norm: self.qk_norm.as_ref().map(|(q, k)| (q.handle(), k.handle())),
            value_gate: self.value_gate.as_ref().map(Tensor::shallow_clone),
            sizes: self.sizes,
        }
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

    fn handle(&self) -> Self {
        Self {
            gate: self.gate.as_ref().map(Linear::handle),
            up: self.up.handle(),
            down: self.down.handle(),
            activation: self.activation,
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
