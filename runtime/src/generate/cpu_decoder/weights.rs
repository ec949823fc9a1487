//! A transformer's weights as the kernels read them: matrices packed, queries, keys and values as one, gates beside what they gate.
//!
//! Shapes: `C` channels, `H` query heads, `K` key-value heads, `D` head dim, `I` feed-forward width, `V` vocab, `P` positions.

use cupola_kernels::decode::{
    Activation as KernelActivation, Instructions, MOST_DIM, Matrix, Order, Pool, WeightFormat, layer_norm,
    narrowed, rms_norm, widen,
};
use cupola_specs::job::{Activation, ModelShape};
use tch::{Device, Tensor};

use crate::generate::GenerateError;
use crate::generate::transformer_parts::{LayerPart, LinearPart, NormPart, TransformerParts};
use crate::model::Network;

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

impl Weights {
    /// Packs the weights of a network, one module after another.
    pub(super) fn pack(
        network: &Network,
        (format, max_len): (WeightFormat, usize),
        pool: &mut Pool,
    ) -> Result<Self, GenerateError> {
        let (shape, parts) = (network.shape(), TransformerParts::new(network)?);
        if shape.head_dim as usize > MOST_DIM {
            return Err(GenerateError::Unsupported(format!("heads of {} dimensions", shape.head_dim)));
        }
        let positions = parts.positions()?.map(|tensor| table(&tensor, format)).transpose()?;
        let mut layers = Vec::new();
        for layer in 0..shape.num_hidden_layers {
            layers.push(Layer::pack(parts.layer(layer)?, shape, format, pool)?);
        }
        Ok(Self {
            embedding: table(&parts.embedding()?, format)?,
            positions,
            layers,
            norm: norm(parts.norm()?)?,
            head: matrix(&parts.head()?, (Order::Plain, format), pool)?,
            rope: rope(&parts, shape, max_len)?,
            activation: match shape.activation {
                Activation::Swiglu => KernelActivation::SwiGlu,
                Activation::Relu2 => KernelActivation::Relu2,
                Activation::GeluNew => KernelActivation::GeluTanh,
            },
        })
    }
}

impl Layer {
    fn pack(
        part: LayerPart,
        shape: &ModelShape,
        format: WeightFormat,
        pool: &mut Pool,
    ) -> Result<Self, GenerateError> {
        let gated = if shape.activation == Activation::Swiglu { Order::Gated } else { Order::Plain };
        let qk_norm = match part.qk_norm {
            Some((of_queries, of_keys)) => Some((norm(of_queries)?, norm(of_keys)?)),
            None => None,
        };
        let values = match part.values {
            Some(values) => Some(ValueEmbedding {
                table: table(&values.table, format)?,
                gate: numbers(&values.gates)?,
                channels: values.gates.numel() / shape.num_key_value_heads as usize,
            }),
            None => None,
        };
        Ok(Self {
            input_norm: norm(part.input_norm)?,
            inputs: matrix(&part.inputs, (Order::Plain, format), pool)?,
            qk_norm,
            output: matrix(&part.output, (Order::Plain, format), pool)?,
            post_norm: norm(part.post_norm)?,
            up: matrix(&part.up, (gated, format), pool)?,
            down: matrix(&part.down, (Order::Plain, format), pool)?,
            window: part.window,
            values,
            residual: part.residual,
        })
    }
}

/// A tensor's numbers, row by row.
fn numbers(tensor: &Tensor) -> Result<Vec<f32>, GenerateError> {
    let flat = tensor.f_to_device(Device::Cpu)?.f_contiguous()?.f_view([-1])?;
    Ok(Vec::<f32>::try_from(&flat)?)
}

fn table(tensor: &Tensor, format: WeightFormat) -> Result<Table, GenerateError> {
    let (width, wide) = (tensor.size2()?.1 as usize, numbers(tensor)?);
    Ok(match format {
        WeightFormat::Fp32 => Table { wide, narrow: Vec::new(), width },
        _ => Table { narrow: narrowed(&wide), wide: Vec::new(), width },
    })
}

fn norm(part: NormPart) -> Result<Norm, GenerateError> {
    let vector = |tensor: Option<Tensor>| tensor.map(|tensor| numbers(&tensor)).transpose();
    Ok(Norm { gain: vector(part.gain)?, bias: vector(part.bias)?, eps: part.eps })
}

fn matrix(
    part: &LinearPart,
    packing: (Order, WeightFormat),
    pool: &mut Pool,
) -> Result<Matrix, GenerateError> {
    let (weight, inputs) = (numbers(&part.weight)?, part.weight.size2()?.1 as usize);
    let bias = part.bias.as_ref().map(numbers).transpose()?;
    Ok(Matrix::pack(pool, &weight, bias.as_deref(), inputs, packing))
}

fn rope(
    parts: &TransformerParts<'_>,
    shape: &ModelShape,
    max_len: usize,
) -> Result<Option<Rope>, GenerateError> {
    match parts.rope(max_len) {
        Some((cos, sin)) => {
            Ok(Some(Rope { cos: numbers(&cos)?, sin: numbers(&sin)?, half: shape.head_dim as usize / 2 }))
        }
        None => Ok(None),
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
