//! The adapters that a decoder holds beside its packed matrices, each under its id.
//!
//! Shapes: `H` query heads, `K` key-value heads, `D` head dim, `I` feed-forward width, `R` rank.

use cupola_kernels::decode::LowRank;
use cupola_specs::job::{Activation, ModelShape};

use super::weights::finite;
use crate::generate::{AdapterId, GenerateError};
use crate::model::{Names, Network};

/// Every adapter of a decoder.
#[derive(Debug, Default)]
pub(super) struct Adapters {
    held: Vec<(AdapterId, Vec<LayerAdapter>)>,
}

/// What stands beside a layer's matrices; empty where an adapter leaves one as it is.
#[derive(Debug, Default)]
pub(super) struct LayerAdapter {
    pub inputs: LowRank,
    pub output: LowRank,
    pub up: LowRank,
    pub down: LowRank,
}

impl Adapters {
    /// Where an adapter stands; none where it is not held.
    pub(super) fn place(&self, adapter: AdapterId) -> Option<usize> {
        self.held.iter().position(|(id, _)| *id == adapter)
    }

    /// What the adapter at a place has beside a layer.
    pub(super) fn layer(&self, place: usize, layer: usize) -> &LayerAdapter {
        &self.held[place].1[layer]
    }

    /// Takes the adapters of a network under an id.
    pub(super) fn push(
        &mut self,
        id: AdapterId,
        shape: &ModelShape,
        adapted: &Network,
    ) -> Result<(), GenerateError> {
        let refused = |message: String| Err(GenerateError::Unsupported(message));
        if self.place(id).is_some() {
            return refused(format!("an adapter {} is there already", id.0));
        }
        if adapted.shape() != shape {
            return refused("adapters of a network of another shape".into());
        }
        if !adapted.is_adapted() {
            return refused("a network without adapters in the place of adapters".into());
        }
        let layers = (0..shape.num_hidden_layers).map(|layer| layer_of(layer, shape, adapted));
        self.held.push((id, layers.collect::<Result<_, _>>()?));
        Ok(())
    }
}

fn layer_of(layer: u64, shape: &ModelShape, adapted: &Network) -> Result<LayerAdapter, GenerateError> {
    let names = Names::of(shape.model_type);
    let of_heads = |heads: u64| (heads * shape.head_dim) as usize;
    let (queries, keys) = (of_heads(shape.num_attention_heads), of_heads(shape.num_key_value_heads));
    // Queries, keys and values as they are packed, or one module of all three.
    let firsts = [0, queries, queries + keys];
    let inputs: Vec<(usize, String)> =
        names.inputs.iter().zip(firsts).map(|(name, first)| (first, (*name).to_owned())).collect();
    let up = format!("mlp.{}", names.up);
    let up = match shape.activation {
        Activation::Swiglu => vec![(0, "mlp.gate_proj".to_owned()), (shape.intermediate_size as usize, up)],
        _ => vec![(0, up)],
    };
    let beside = |modules: &[(usize, String)]| {
        let mut adapter = LowRank::default();
        for (first, module) in modules {
            let weight = format!("{}.{layer}.{module}.weight", names.layers);
            let Some((a, b)) = adapted.low_rank(&weight) else { continue };
            let inputs = a.size2()?.1 as usize;
            let (a, b) = (finite(&weight, &a)?, finite(&weight, &b)?);
            adapter.push(*first, inputs, &a, &b);
        }
        Ok::<_, GenerateError>(adapter)
    };
    Ok(LayerAdapter {
        inputs: beside(&inputs)?,
        output: beside(&[(0, names.output.to_owned())])?,
        up: beside(&up)?,
        down: beside(&[(0, format!("mlp.{}", names.down))])?,
    })
}
