//! A transformer's weights as the kernels read them: matrices packed, queries, keys and values as one, gates beside what they gate.
//!
//! Shapes: `C` channels, `H` query heads, `K` key-value heads, `D` head dim, `I` feed-forward width, `V` vocab, `P` positions.

use std::collections::HashMap;

use cupola_kernels::decode::{
    Activation as KernelActivation, Instructions, MOST_DIM, Matrix, Order, Pool, WeightFormat, layer_norm,
    narrowed, rms_norm, widen,
};
use cupola_specs::job::{Activation, Family, ModelShape, ModelType};
use tch::{Device, Kind, Tensor};

use crate::generate::GenerateError;
use crate::model::{Layout, Names, Network, NormKind, RopeTable};

/// Everything that a pass reads.
#[derive(Debug)]
pub(super) struct Weights {
    pub embedding: Table,
    pub positions: Option<Table>,
    pub layers: Vec<Layer>,
    pub norm: Norm,
    pub head: Matrix,
    pub rope: Option<Rope>,
    pub activation: KernelActivation,
}

/// A layer.
#[derive(Debug)]
pub(super) struct Layer {
    pub input_norm: Norm,
    pub inputs: Matrix,
    pub qk_norm: Option<(Norm, Norm)>,
    pub output: Matrix,
    pub post_norm: Norm,
    pub up: Matrix,
    pub down: Matrix,
    pub window: usize,
    pub values: Option<ValueEmbedding>,
    /// What the stream and the first embedding are multiplied by.
    pub residual: Option<(f32, f32)>,
}

/// An embedding that a gate adds to the values.
#[derive(Debug)]
pub(super) struct ValueEmbedding {
    pub table: Table,
    /// `[K, G]`
    pub gate: Vec<f32>,
    pub channels: usize,
}

/// Rows that are looked up.
#[derive(Debug)]
pub(super) struct Table {
    wide: Vec<f32>,
    narrow: Vec<u16>,
    width: usize,
}

impl Table {
    /// Writes a row.
    pub(super) fn row(&self, at: usize, out: &mut [f32]) {
        let range = at * self.width..(at + 1) * self.width;
        if self.narrow.is_empty() {
            out.copy_from_slice(&self.wide[range]);
        } else {
            widen(&self.narrow[range], out);
        }
    }
}

/// A norm over a row.
#[derive(Debug)]
pub(super) struct Norm {
    gain: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
    eps: f32,
}

impl Norm {
    /// `x [C]` → `out [C]`.
    pub(super) fn apply(&self, instructions: Instructions, x: &[f32], out: &mut [f32]) {
        match (&self.gain, &self.bias) {
            (Some(gain), Some(bias)) => layer_norm(instructions, x, (gain, bias), self.eps, out),
            (gain, _) => rms_norm(instructions, x, gain.as_deref(), self.eps, out),
        }
    }
}

impl Norm {
    /// The same within a head `x [D]`.
    pub(super) fn apply_in_place(&self, instructions: Instructions, x: &mut [f32]) {
        let mut from = [0.0; MOST_DIM];
        let from = &mut from[..x.len()];
        from.copy_from_slice(x);
        self.apply(instructions, from, x);
    }
}

/// Cosines and sines, each `[P, D/2]`.
#[derive(Debug)]
pub(super) struct Rope {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Rope {
    /// Of a position.
    pub(super) fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.half..(position + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }
}

/// Takes a network's weights by their names.
struct Packer<'a> {
    network: &'a Network,
    at: HashMap<&'a str, usize>,
    format: WeightFormat,
    pool: &'a mut Pool,
}

impl Weights {
    /// Packs the weights of a network.
    pub(super) fn pack(
        network: &Network,
        (format, max_len): (WeightFormat, usize),
        pool: &mut Pool,
    ) -> Result<Self, GenerateError> {
        let shape = network.shape();
        if shape.family != Family::Transformer {
            return Err(GenerateError::Unsupported("it is no transformer".into()));
        }
        if shape.head_dim as usize > MOST_DIM {
            return Err(GenerateError::Unsupported(format!("heads of {} dimensions", shape.head_dim)));
        }
        let at = network.parameters().iter().enumerate().map(|(at, p)| (p.name.as_str(), at)).collect();
        Packer { network, at, format, pool }.weights(shape, max_len)
    }
}

impl Packer<'_> {
    fn weights(mut self, shape: &ModelShape, max_len: usize) -> Result<Weights, GenerateError> {
        let names = Names::of(shape.model_type);
        let head = if shape.tie_word_embeddings { names.embedding } else { "lm_head.weight" };
        let positions = match shape.model_type {
            ModelType::Gpt2 => Some(self.table("transformer.wpe.weight")?),
            _ => None,
        };
        let scalars = if shape.residual_scalars {
            Some((self.numbers("model.resid_lambdas")?, self.numbers("model.x0_lambdas")?))
        } else {
            None
        };
        let mut layers = Vec::new();
        for layer in 0..shape.num_hidden_layers {
            let residual =
                scalars.as_ref().map(|(stays, returns)| (stays[layer as usize], returns[layer as usize]));
            layers.push(self.layer(shape, &names, layer, residual)?);
        }
        Ok(Weights {
            embedding: self.table(names.embedding)?,
            positions,
            layers,
            norm: self.norm(names.norm_kind, names.norm, shape)?,
            head: self.matrix(&[(head.to_owned(), Layout::OutIn)], Order::Plain)?,
            rope: rope(shape, max_len)?,
            activation: match shape.activation {
                Activation::Swiglu => KernelActivation::SwiGlu,
                Activation::Relu2 => KernelActivation::Relu2,
                Activation::GeluNew => KernelActivation::GeluTanh,
            },
        })
    }

    fn layer(
        &mut self,
        shape: &ModelShape,
        names: &Names,
        layer: u64,
        residual: Option<(f32, f32)>,
    ) -> Result<Layer, GenerateError> {
        let module = |name: &str| format!("{}.{layer}.{name}", names.layers);
        let weight = |name: &str| (format!("{}.weight", module(name)), names.layout);
        let inputs: Vec<_> = names.inputs.iter().map(|name| weight(name)).collect();
        let of_feed_forward = |name: &str| weight(&format!("mlp.{name}"));
        let (up, order) = match shape.activation {
            Activation::Swiglu => {
                (vec![of_feed_forward("gate_proj"), of_feed_forward(names.up)], Order::Gated)
            }
            _ => (vec![of_feed_forward(names.up)], Order::Plain),
        };
        let of_heads = if names.norm_kind == NormKind::Plain { NormKind::Plain } else { NormKind::Rms };
        let head_norm = |name: &str| self.norm(of_heads, &module(name), shape);
        let qk_norm = if shape.qk_norm {
            Some((head_norm("self_attn.q_norm")?, head_norm("self_attn.k_norm")?))
        } else {
            None
        };
        let values = if shape.has_value_embedding(layer) {
            let gate = self.numbers(&module("self_attn.ve_gate.weight"))?;
            let channels = gate.len() / shape.num_key_value_heads as usize;
            Some(ValueEmbedding {
                table: self.table(&format!("model.value_embeds.{layer}.weight"))?,
                gate,
                channels,
            })
        } else {
            None
        };
        Ok(Layer {
            input_norm: self.norm(names.norm_kind, &module(names.input_norm), shape)?,
            inputs: self.matrix(&inputs, Order::Plain)?,
            qk_norm,
            output: self.matrix(&[weight(names.output)], Order::Plain)?,
            post_norm: self.norm(names.norm_kind, &module(names.post_norm), shape)?,
            up: self.matrix(&up, order)?,
            down: self.matrix(&[of_feed_forward(names.down)], Order::Plain)?,
            window: shape.window_of(layer) as usize,
            values,
            residual,
        })
    }

    fn tensor(&self, name: &str) -> Result<Tensor, GenerateError> {
        let at = self
            .at
            .get(name)
            .ok_or_else(|| GenerateError::Unsupported(format!("it has no tensor {name}")))?;
        Ok(self.network.merged(&self.network.parameters()[*at]).f_to_kind(Kind::Float)?)
    }

    /// A tensor's numbers, all of them finite.
    fn numbers(&self, name: &str) -> Result<Vec<f32>, GenerateError> {
        finite(name, &self.tensor(name)?)
    }

    fn table(&self, name: &str) -> Result<Table, GenerateError> {
        let width = self.tensor(name)?.size2()?.1 as usize;
        let wide = self.numbers(name)?;
        Ok(match self.format {
            WeightFormat::Fp32 => Table { wide, narrow: Vec::new(), width },
            _ => Table { narrow: narrowed(&wide), wide: Vec::new(), width },
        })
    }

    fn norm(&self, kind: NormKind, module: &str, shape: &ModelShape) -> Result<Norm, GenerateError> {
        let vector = |is_there: bool, name: &str| {
            if is_there { self.numbers(&format!("{module}.{name}")).map(Some) } else { Ok(None) }
        };
        Ok(Norm {
            gain: vector(kind != NormKind::Plain, "weight")?,
            bias: vector(kind == NormKind::Layer, "bias")?,
            eps: shape.norm_eps as f32,
        })
    }

    /// Packs several modules as one: their outputs one after the other.
    fn matrix(&mut self, modules: &[(String, Layout)], order: Order) -> Result<Matrix, GenerateError> {
        let (mut weights, mut bias, mut inputs, mut has_bias) = (Vec::new(), Vec::new(), 0, false);
        for (name, layout) in modules {
            let mut weight = self.tensor(name)?;
            if *layout == Layout::InOut {
                weight = weight.transpose(0, 1);
            }
            let (outputs, width) = weight.size2()?;
            inputs = width as usize;
            weights.extend(finite(name, &weight)?);
            let of_bias = name.replace(".weight", ".bias");
            if self.at.contains_key(of_bias.as_str()) {
                has_bias = true;
                bias.extend(self.numbers(&of_bias)?);
            } else {
                bias.resize(bias.len() + outputs as usize, 0.0);
            }
        }
        let bias = has_bias.then_some(bias.as_slice());
        Ok(Matrix::pack(self.pool, &weights, bias, inputs, (order, self.format)))
    }
}

/// A tensor's numbers, all of them finite.
pub(super) fn finite(name: &str, tensor: &Tensor) -> Result<Vec<f32>, GenerateError> {
    let flat = tensor.f_to_device(Device::Cpu)?.f_contiguous()?.f_view([-1])?;
    let numbers = Vec::<f32>::try_from(&flat)?;
    if numbers.iter().any(|x| !x.is_finite()) {
        return Err(GenerateError::Unsupported(format!("{name} holds a number that is not finite")));
    }
    Ok(numbers)
}

fn rope(shape: &ModelShape, max_len: usize) -> Result<Option<Rope>, GenerateError> {
    if !shape.model_type.facts().has_rope {
        return Ok(None);
    }
    let half = shape.head_dim as usize / 2;
    let table = RopeTable::new(shape, max_len as i64, Device::Cpu);
    let halves = |table: &Tensor| finite("the rotary table", &table.narrow(1, 0, half as i64));
    Ok(Some(Rope { cos: halves(&table.cos)?, sin: halves(&table.sin)?, half }))
}
