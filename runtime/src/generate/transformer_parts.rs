//! A transformer's weights, one after another, as decoders want them: whole modules in fp32 with adapters merged, queries, keys and values as
//! one matrix, gates before what they gate.
//!
//! Shapes: `C` channels, `H` query heads, `K` key-value heads, `D` head dim, `I` feed-forward width, `V` vocab, `P` positions.

use std::collections::HashMap;

use cupola_specs::job::{Activation, Family, ModelShape, ModelType};
use tch::{Kind, Tensor};

use crate::generate::GenerateError;
use crate::model::{Layout, Names, Network, NormKind, RopeTable};

/// A matrix `[outputs, inputs]` and its bias `[outputs]`.
#[derive(Debug)]
pub(super) struct LinearPart {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

/// A norm over a row: gain and bias `[C]`.
#[derive(Debug)]
pub(super) struct NormPart {
    pub gain: Option<Tensor>,
    pub bias: Option<Tensor>,
    pub eps: f32,
}

/// An embedding that a gate adds to the values: `[V, K·D]` and `[K, channels]`.
#[derive(Debug)]
pub(super) struct ValuePart {
    pub table: Tensor,
    pub gates: Tensor,
}

/// A layer.
#[derive(Debug)]
pub(super) struct LayerPart {
    pub input_norm: NormPart,
    /// `[(H + 2K)·D, C]`
    pub inputs: LinearPart,
    /// Norms of queries and keys.
    pub qk_norm: Option<(NormPart, NormPart)>,
    /// `[C, H·D]`
    pub output: LinearPart,
    pub post_norm: NormPart,
    /// `[I, C]`; gated `[2·I, C]`, the gates first.
    pub up: LinearPart,
    /// `[C, I]`
    pub down: LinearPart,
    pub window: usize,
    pub values: Option<ValuePart>,
    /// What the stream and the first embedding are multiplied by.
    pub residual: Option<(f32, f32)>,
}

/// Takes a network's weights by their names.
pub(super) struct TransformerParts<'a> {
    network: &'a Network,
    shape: &'a ModelShape,
    at: HashMap<&'a str, usize>,
    names: Names,
}

impl<'a> TransformerParts<'a> {
    /// # Errors
    /// A network that is no transformer.
    pub(super) fn new(network: &'a Network) -> Result<Self, GenerateError> {
        let shape = network.shape();
        if shape.family != Family::Transformer {
            return Err(GenerateError::Unsupported("it is no transformer".into()));
        }
        let at = network.parameters().iter().enumerate().map(|(at, p)| (p.name.as_str(), at)).collect();
        Ok(Self { network, shape, at, names: Names::of(shape.model_type) })
    }

    /// `[V, C]`
    pub(super) fn embedding(&self) -> Result<Tensor, GenerateError> {
        self.tensor(self.names.embedding)
    }

    /// `[P, C]`, where positions are learned.
    pub(super) fn positions(&self) -> Result<Option<Tensor>, GenerateError> {
        match self.shape.model_type {
            ModelType::Gpt2 => self.tensor("transformer.wpe.weight").map(Some),
            _ => Ok(None),
        }
    }

    /// `[V, C]`
    pub(super) fn head(&self) -> Result<LinearPart, GenerateError> {
        let name = if self.shape.tie_word_embeddings { self.names.embedding } else { "lm_head.weight" };
        self.linear(&[(name.to_owned(), Layout::OutIn)])
    }

    /// The norm before the head.
    pub(super) fn norm(&self) -> Result<NormPart, GenerateError> {
        self.norm_of(self.names.norm_kind, self.names.norm)
    }

    /// Cosines and sines of the first `max_len` positions, each `[max_len, D/2]`.
    pub(super) fn rope(&self, max_len: usize) -> Option<(Tensor, Tensor)> {
        if !self.shape.model_type.facts().has_rope {
            return None;
        }
        let half = self.shape.head_dim as i64 / 2;
        let table = RopeTable::new(self.shape, max_len as i64, self.network.device());
        let half_of = |table: &Tensor| table.narrow(1, 0, half).contiguous();
        Some((half_of(&table.cos), half_of(&table.sin)))
    }

    /// A layer.
    pub(super) fn layer(&self, layer: u64) -> Result<LayerPart, GenerateError> {
        let (shape, names) = (self.shape, &self.names);
        let module = |name: &str| format!("{}.{layer}.{name}", names.layers);
        let weight = |name: &str| (format!("{}.weight", module(name)), names.layout);
        let inputs: Vec<_> = names.inputs.iter().map(|name| weight(name)).collect();
        let mut up = vec![weight(&format!("mlp.{}", names.up))];
        if shape.activation == Activation::Swiglu {
            up.insert(0, weight("mlp.gate_proj"));
        }
        let of_heads = if names.norm_kind == NormKind::Plain { NormKind::Plain } else { NormKind::Rms };
        let head_norm = |name: &str| self.norm_of(of_heads, &module(name));
        let qk_norm = if shape.qk_norm {
            Some((head_norm("self_attn.q_norm")?, head_norm("self_attn.k_norm")?))
        } else {
            None
        };
        let values = if shape.has_value_embedding(layer) {
            let table = self.tensor(&format!("model.value_embeds.{layer}.weight"))?;
            Some(ValuePart { table, gates: self.tensor(&module("self_attn.ve_gate.weight"))? })
        } else {
            None
        };
        let scalar = |name: &str| -> Result<f32, GenerateError> {
            Ok(self.tensor(name)?.double_value(&[layer as i64]) as f32)
        };
        let residual = if shape.residual_scalars {
            Some((scalar("model.resid_lambdas")?, scalar("model.x0_lambdas")?))
        } else {
            None
        };
        Ok(LayerPart {
            input_norm: self.norm_of(names.norm_kind, &module(names.input_norm))?,
            inputs: self.linear(&inputs)?,
            qk_norm,
            output: self.linear(&[weight(names.output)])?,
            post_norm: self.norm_of(names.norm_kind, &module(names.post_norm))?,
            up: self.linear(&up)?,
            down: self.linear(&[weight(&format!("mlp.{}", names.down))])?,
            window: shape.window_of(layer) as usize,
            values,
            residual,
        })
    }

    /// A tensor in fp32, all its numbers finite.
    fn tensor(&self, name: &str) -> Result<Tensor, GenerateError> {
        let at = self
            .at
            .get(name)
            .ok_or_else(|| GenerateError::Unsupported(format!("it has no tensor {name}")))?;
        let tensor = self.network.merged(&self.network.parameters()[*at]).f_to_kind(Kind::Float)?;
        if tensor.f_isfinite()?.f_all()?.int64_value(&[]) == 0 {
            return Err(GenerateError::Unsupported(format!("{name} holds a number that is not finite")));
        }
        Ok(tensor.f_contiguous()?)
    }

    fn norm_of(&self, kind: NormKind, module: &str) -> Result<NormPart, GenerateError> {
        let vector = |is_there: bool, name: &str| {
            if is_there { self.tensor(&format!("{module}.{name}")).map(Some) } else { Ok(None) }
        };
        Ok(NormPart {
            gain: vector(kind != NormKind::Plain, "weight")?,
            bias: vector(kind == NormKind::Layer, "bias")?,
            eps: self.shape.norm_eps as f32,
        })
    }

    /// Several modules as one: their outputs one after the other.
    fn linear(&self, modules: &[(String, Layout)]) -> Result<LinearPart, GenerateError> {
        let (mut weights, mut biases, mut has_bias) = (Vec::new(), Vec::new(), false);
        for (name, layout) in modules {
            let weight = self.tensor(name)?;
            let weight = if *layout == Layout::InOut { weight.transpose(0, 1) } else { weight };
            let of_bias = name.replace(".weight", ".bias");
            let is_there = self.at.contains_key(of_bias.as_str());
            has_bias |= is_there;
            biases.push(if is_there {
                self.tensor(&of_bias)?
            } else {
                Tensor::zeros([weight.size()[0]], (Kind::Float, weight.device()))
            });
            weights.push(weight);
        }
        let bias = if has_bias { Some(Tensor::f_cat(&biases, 0)?) } else { None };
        Ok(LinearPart { weight: Tensor::f_cat(&weights, 0)?.contiguous(), bias })
    }
}
