//! The stacked LSTM: the scaling sweep's other family.
//!
//! Papers: Hochreiter and Schmidhuber 1997; RMS norm before each layer and a residual around it as in the transformer, so that both families
//! train by one recipe. No Hugging Face class loads it; tensor names follow `torch.nn.LSTM`.
//!
//! Shapes: `B` batch, `T` time, `C` channels, `V` vocab.

use cupola_kernels::{Randomness, recompute};
use cupola_specs::job::{ModelShape, Precision, Recompute};
use tch::{Device, Kind, Tensor};

use super::ParamGroup;
use super::kv_cache::{KvCache, RowSlot, rows_of, slot_index, slots_of};
use super::layers::{linear, product_kind, rms_norm};
use super::parameter::{Init, Source};

/// The network's weights.
#[derive(Debug)]
pub struct Lstm {
    shape: ModelShape,
    embedding: Tensor, // [V, C]
    layers: Vec<Layer>,
    norm: Tensor, // [C]
    head: Tensor, // [V, C]
}

#[derive(Debug)]
struct Layer {
    norm: Tensor,   // [C]
    input: Tensor,  // [4·C, C]
    hidden: Tensor, // [4·C, C]
    bias: Tensor,   // [4·C]
    out: Tensor,    // [C, C]
}

impl Lstm {
    /// Builds the network from a source of weights, asked in a fixed order.
    pub(super) fn build(shape: &ModelShape, vocab_size: i64, source: &mut dyn Source) -> Self {
        let width = shape.hidden_size as i64;
        let spread = Init::Uniform((3.0 / width as f64).sqrt());
        let embedding = source.weight(
            "embed_tokens.weight",
            &[vocab_size, width],
            ParamGroup::Embedding,
            Init::Normal(0.02),
        );
        let layers = (0..shape.num_hidden_layers)
            .map(|i| {
                let mut weight = |name: &str, size: &[i64], group, init| {
                    source.weight(&format!("layers.{i}.{name}"), size, group, init)
                };
                Layer {
                    norm: weight("norm.weight", &[width], ParamGroup::Vector, Init::Constant(1.0)),
                    input: weight("lstm.weight_ih", &[4 * width, width], ParamGroup::Matrix, spread),
                    hidden: weight("lstm.weight_hh", &[4 * width, width], ParamGroup::Matrix, spread),
                    bias: weight("lstm.bias", &[4 * width], ParamGroup::Vector, Init::Constant(0.0)),
                    out: weight("out_proj.weight", &[width, width], ParamGroup::Matrix, Init::Constant(0.0)),
                }
            })
            .collect();
        let norm = source.weight("norm.weight", &[width], ParamGroup::Vector, Init::Constant(1.0));
        let head = if shape.tie_word_embeddings {
            embedding.shallow_clone()
        } else {
            source.weight("lm_head.weight", &[vocab_size, width], ParamGroup::Head, Init::Constant(0.0))
        };
        Self { shape: shape.clone(), embedding, layers, norm, head }
    }

    /// Every size; the attention fields have no meaning here.
    pub fn shape(&self) -> &ModelShape {
        &self.shape
    }

    /// The last hidden state of each position, from a zero state.
    ///
    /// # Shapes
    /// `tokens [B, T]` → `[B, T, C]` in the kind of `precision`.
    pub fn hidden(&self, tokens: &Tensor, precision: Precision, recompute: Recompute) -> Tensor {
        let kind = product_kind(precision);
        let mut x = Tensor::embedding(&self.embedding, tokens, -1, false, false).to_kind(kind); // [B, T, C]
        for layer in &self.layers {
            x = match recompute {
                Recompute::None => layer.forward(&x, self.shape.norm_eps),
                Recompute::Blocks => layer.recomputed(&x, self.shape.norm_eps),
            };
        }
        rms_norm(&x, &self.norm, self.shape.norm_eps, kind)
    }

    /// The same for tokens that follow what `cache` holds; the states in it move on.
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
        let (batch, _) = tokens.size2().unwrap_or_default();
        let (kind, device) = (product_kind(precision), tokens.device());
        let index = slot_index(rows, device);
        let slots = slots_of(rows, device);
        let begun: Vec<f32> = rows.iter().map(|row| if row.start == 0 { 0.0 } else { 1.0 }).collect();
        let begun = Tensor::from_slice(&begun).to_device(device).to_kind(kind).unsqueeze(1); // [B, 1]
        let mut x = Tensor::embedding(&self.embedding, tokens, -1, false, false).to_kind(kind); // [B, T, C]
        for (layer, (h, c)) in self.layers.iter().zip(&mut cache.layers) {
            let state = |store: &Tensor| rows_of(store, index.as_ref(), batch, 1).view([batch, -1]) * &begun; // [B, C]
            let (out, (new_h, new_c)) = layer.advance(&x, (state(h), state(c)), self.shape.norm_eps);
            for (store, new) in [(h, new_h), (c, new_c)] {
                let _ = store.index_put_(&[Some(&slots)], &new.unsqueeze(1).unsqueeze(1), false);
            }
            x = out;
        }
        rms_norm(&x, &self.norm, self.shape.norm_eps, kind)
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
        let size = [slots, 1, 1, self.shape.hidden_size as i64];
        KvCache::new(self.shape.num_hidden_layers, size, max_len, precision, self.device())
    }

    fn device(&self) -> Device {
        self.embedding.device()
    }
}

impl Layer {
    /// The residual stream behind the layer, from a zero state: `x [B, T, C]` → `[B, T, C]`.
    fn forward(&self, x: &Tensor, eps: f64) -> Tensor {
        let (batch, _, width) = x.size3().unwrap_or_default();
        let zero = Tensor::zeros([batch, width], (x.kind(), x.device()));
        self.advance(x, (zero.shallow_clone(), zero), eps).0
    }

    /// [`Layer::forward`], of which nothing but the input is kept for backward.
    fn recomputed(&self, x: &Tensor, eps: f64) -> Tensor {
        let layer = Self {
            norm: self.norm.shallow_clone(),
            input: self.input.shallow_clone(),
            hidden: self.hidden.shallow_clone(),
            bias: self.bias.shallow_clone(),
            out: self.out.shallow_clone(),
        };
        let part = move |inputs: &[Tensor]| Ok(vec![layer.forward(&inputs[0], eps)]);
        match recompute(part, &[x], Randomness::None) {
            Ok(mut outputs) => outputs.swap_remove(0),
            Err(error) => panic!("a layer that is computed again: {error}"),
        }
    }

    /// `x [B, T, C]` and the state `[B, C]` before it → the residual stream after the layer, and the state after `T` steps.
    fn advance(&self, x: &Tensor, (h, c): (Tensor, Tensor), eps: f64) -> (Tensor, (Tensor, Tensor)) {
        let kind = x.kind();
        let width = h.size()[1];
        // The forget gate leans open by one (Jozefowicz et al. 2015), whatever the learned bias: gates are input, forget, cell, output.
        let lean = Tensor::zeros([4 * width], (Kind::Float, x.device()));
        let _ = lean.narrow(0, width, width).fill_(1.0);
        let bias = (&self.bias + lean).to_kind(kind); // [4·C]
        let no_bias = bias.zeros_like();
        let state = [h.unsqueeze(0), c.unsqueeze(0)]; // [1, B, C]
        let weights = [self.input.to_kind(kind), self.hidden.to_kind(kind), bias, no_bias];
        let normed = rms_norm(x, &self.norm, eps, kind);
        let train = self.input.requires_grad();
        let (mixed, h, c) = normed.lstm(&state, &weights, true, 1, 0.0, train, false, true); // [B, T, C], [1, B, C]
        (x + linear(&mixed, &self.out), (h.squeeze_dim(0), c.squeeze_dim(0)))
    }
}
