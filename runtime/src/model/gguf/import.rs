//! A file's shape and weights.

use std::collections::BTreeSet;

use cupola_specs::job::ModelShape;
use tch::{Device, Kind, Tensor};

use super::{Gguf, facts, names};
use crate::model::ModelError;

/// The shape and vocabulary of a file.
pub(in crate::model) fn read_shape(gguf: &Gguf) -> Result<(ModelShape, i64), ModelError> {
    facts::to_shape(gguf)
}

/// The tensors of a file, asked for by Hugging Face's names.
pub(in crate::model) fn weights<'a>(gguf: &'a Gguf, shape: &'a ModelShape) -> GgufWeights<'a> {
    GgufWeights { gguf, shape, taken: BTreeSet::new() }
}

/// Tensors that wait to be asked for.
pub(in crate::model) struct GgufWeights<'a> {
    gguf: &'a Gguf,
    shape: &'a ModelShape,
    taken: BTreeSet<String>,
}

impl GgufWeights<'_> {
    /// The tensor of a name and a size, as an fp32 leaf.
    pub(in crate::model) fn take(
        &mut self,
        name: &str,
        size: &[i64],
        device: Device,
    ) -> Result<Tensor, ModelError> {
        let path = || self.gguf.path().to_path_buf();
        let found = names::of(self.shape, name);
        let found = found.and_then(|(own, layout)| Some((self.gguf.tensors.get(&own)?, own, layout)));
        let (place, own, layout) =
            found.ok_or_else(|| ModelError::MissingTensor { path: path(), name: name.to_owned() })?;
        let expected = layout.size(size);
        if place.size != expected {
            return Err(ModelError::TensorShape {
                path: path(),
                name: own,
                expected: expected.iter().map(|size| *size as i64).collect(),
                got: place.size.iter().map(|size| *size as i64).collect(),
            });
        }
        let values = place.kind.unpack(self.gguf.bytes_of(place));
        let lying: Vec<i64> = place.size.iter().map(|size| *size as i64).collect();
        let tensor = layout.take(&Tensor::f_from_slice(&values)?.f_view(lying.as_slice())?);
        self.taken.insert(own);
        Ok(tensor.f_to_device(device)?.to_kind(Kind::Float).set_requires_grad(true))
    }

    /// An error where a tensor is left that nobody asked for.
    pub(in crate::model) fn finish(self) -> Result<(), ModelError> {
        let is_left = |name: &&String| !self.taken.contains(*name) && *name != facts::ROPE_FACTORS;
        match self.gguf.tensors.keys().find(is_left) {
            Some(name) => {
                Err(ModelError::ExtraTensor { path: self.gguf.path().to_path_buf(), name: name.clone() })
            }
            None => Ok(()),
        }
    }
}
