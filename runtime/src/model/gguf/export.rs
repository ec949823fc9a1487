//! A model folder as one file, with its tokenizer and chat template in it.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::container::{TensorPlan, write};
use super::names::Layout;
use super::{BlockType, Fact, GgufError, facts, names};
use crate::model::{ModelError, Network, ParamGroup, Parameter};

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GgufReport {
    /// Bytes of the file's tensors.
    pub(crate) tensor_bytes: u64,
    /// Root of the mean square of the weights' rounding errors, by that of the weights themselves.
    pub(crate) rounding: f64,
}

/// Writes the model of a network with its tokenizer's facts.
///
/// # Errors
/// A network that llama.cpp has no architecture for, or a file that can't be written.
pub(crate) fn export_gguf(
    network: &Network,
    (name, tokenizer): (&str, Vec<(String, Fact)>),
    kind: BlockType,
    path: &Path,
) -> Result<GgufReport, ModelError> {
    let shape = network.shape();
    let mut all = vec![
        ("general.architecture".to_owned(), facts::architecture(shape)?.into()),
        ("general.name".to_owned(), name.into()),
        ("general.file_type".to_owned(), Fact::Count(kind.file_number())),
        ("general.quantization_version".to_owned(), Fact::Count(2)),
    ];
    all.extend(facts::of_shape(shape, network.vocab_size())?);
    all.extend(tokenizer);
    let mut sources: Vec<Source> = Vec::new();
    for parameter in network.parameters() {
        let Some((name, layout)) = names::of(shape, &parameter.name) else {
            return Err(GgufError::NoPlace { what: format!("the tensor {}", parameter.name) }.into());
        };
        let plan = TensorPlan { name, ..plan(parameter, layout, kind) };
        sources.push(Source { plan, layout, tensor: parameter.tensor.detach() });
    }
    if let Some(factors) = facts::rope_factors(shape) {
        let size = vec![factors.len() as u64];
        let plan = TensorPlan { name: facts::ROPE_FACTORS.to_owned(), size, kind: BlockType::F32 };
        sources.push(Source { plan, layout: Layout::Same, tensor: Tensor::from_slice(&factors) });
    }
    let plans: Vec<TensorPlan> = sources.iter().map(|source| source.plan.clone()).collect();
    let (mut errors, mut squares, mut tensor_bytes) = (0.0, 0.0, 0);
    let mut waiting = sources.iter();
    write(path, &all, &plans, |plan| {
        let Some(source) = waiting.next() else {
            return Err(ModelError::Shape(format!("no tensor for {}", plan.name)));
        };
        let values = source.values()?;
        let bytes = plan.kind.pack(&values);
        for (before, after) in values.iter().zip(plan.kind.unpack(&bytes)) {
            errors += f64::from(before - after).powi(2);
            squares += f64::from(*before).powi(2);
        }
        tensor_bytes += bytes.len() as u64;
        Ok(bytes)
    })?;
    Ok(GgufReport { tensor_bytes, rounding: (errors / squares.max(f64::MIN_POSITIVE)).sqrt() })
}

struct Source {
    plan: TensorPlan,
    layout: Layout,
    tensor: Tensor,
}

impl Source {
    /// The numbers as they lie in the file.
    fn values(&self) -> Result<Vec<f32>, ModelError> {
        let tensor = self.tensor.to_device(Device::Cpu).to_kind(Kind::Float);
        Ok(Vec::<f32>::try_from(&self.layout.put(&tensor).contiguous().view([-1]))?)
    }
}

/// How a weight is kept.
fn plan(parameter: &Parameter, layout: Layout, kind: BlockType) -> TensorPlan {
    let size = layout.size(&parameter.tensor.size());
    let is_vector = size.len() < 2 || parameter.name == "transformer.wpe.weight";
    let is_table = matches!(parameter.group, ParamGroup::Embedding | ParamGroup::Head);
    let wanted = match kind {
        _ if is_vector => BlockType::F32,
        BlockType::Q4_0 if is_table => BlockType::Q8_0,
        kind => kind,
    };
    let is_whole = size.last().is_some_and(|row| row % wanted.block() == 0);
    TensorPlan { name: String::new(), size, kind: if is_whole { wanted } else { BlockType::F16 } }
}
