//! A transformer's weights on the device, packed for the kernels.

use cupola_kernels::cuda_decode::{Packed, Program};
use cupola_kernels::decode::Activation as KernelActivation;
use cupola_specs::job::Activation;
use tch::{Kind, Tensor};

use crate::generate::GenerateError;
use crate::generate::transformer_parts::{LinearPart, NormPart, TransformerParts};
use crate::model::Network;

/// Everything that a pass reads.
#[derive(Debug)]
pub(super) struct Weights {
    pub embedding: Tensor,
    pub positions: Option<Tensor>,
    pub layers: Vec<Layer>,
    pub norm: Norm,
    pub head: Packed,
    /// Cosines and sines.
    pub rope: Option<(Tensor, Tensor)>,
    pub activation: KernelActivation,
}

/// A layer.
#[derive(Debug)]
pub(super) struct Layer {
    pub input_norm: Norm,
    pub inputs: Packed,
    pub qk_norm: Option<(Norm, Norm)>,
    pub output: Packed,
    pub post_norm: Norm,
    pub up: Packed,
    pub down: Packed,
    pub window: usize,
    /// An embedding that a gate adds to the values, and the gates.
    pub values: Option<(Tensor, Tensor)>,
    pub residual: Option<(f32, f32)>,
}

/// A norm over a row.
#[derive(Debug)]
pub(super) struct Norm {
    pub gain: Option<Tensor>,
    pub bias: Option<Tensor>,
    pub eps: f32,
}

impl Weights {
    /// Packs a network's weights, layer by layer, so that one layer at most is there in fp32 besides.
    pub(super) fn pack(network: &Network, max_len: usize, program: &Program) -> Result<Self, GenerateError> {
        let parts = TransformerParts::new(network)?;
        let shape = network.shape();
        let is_gated = shape.activation == Activation::Swiglu;
        let to_device = |tensor: Tensor, kind: Kind| -> Result<Tensor, GenerateError> {
            Ok(tensor.f_to_device(program.device())?.f_to_kind(kind)?.f_contiguous()?)
        };
        let optional =
            |tensor: Option<Tensor>, kind| tensor.map(|tensor| to_device(tensor, kind)).transpose();
        let norm = |part: NormPart| -> Result<Norm, GenerateError> {
            let [gain, bias] = [part.gain, part.bias].map(|tensor| optional(tensor, Kind::Float));
            Ok(Norm { gain: gain?, bias: bias?, eps: part.eps })
        };
        let pack = |part: &LinearPart, is_gated| -> Result<Packed, GenerateError> {
            Ok(Packed::new(program, &part.weight, part.bias.as_ref(), is_gated)?)
        };
        let layer = |layer: u64| -> Result<Layer, GenerateError> {
            let part = parts.layer(layer)?;
            let qk_norm = match part.qk_norm {
                Some((of_queries, of_keys)) => Some((norm(of_queries)?, norm(of_keys)?)),
                None => None,
            };
            let values = match part.values {
                Some(values) => {
                    Some((to_device(values.table, program.kind())?, to_device(values.gates, Kind::Float)?))
                }
                None => None,
            };
            Ok(Layer {
                input_norm: norm(part.input_norm)?,
                inputs: pack(&part.inputs, false)?,
                qk_norm,
                output: pack(&part.output, false)?,
                post_norm: norm(part.post_norm)?,
                up: pack(&part.up, is_gated)?,
                down: pack(&part.down, false)?,
                window: part.window,
                values,
                residual: part.residual,
            })
        };
        let rope = match parts.rope(max_len) {
            Some((cos, sin)) => Some((to_device(cos, Kind::Float)?, to_device(sin, Kind::Float)?)),
            None => None,
        };
        Ok(Self {
            embedding: to_device(parts.embedding()?, program.kind())?,
            positions: optional(parts.positions()?, program.kind())?,
            layers: (0..shape.num_hidden_layers).map(layer).collect::<Result<_, _>>()?,
            norm: norm(parts.norm()?)?,
            head: pack(&parts.head()?, false)?,
            rope,
            activation: match shape.activation {
                Activation::Swiglu => KernelActivation::SwiGlu,
                Activation::Relu2 => KernelActivation::Relu2,
                Activation::GeluNew => KernelActivation::GeluTanh,
            },
        })
    }
}
