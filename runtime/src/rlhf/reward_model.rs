//! A reward model: a network whose last hidden state, at an answer's last token, goes through one row of weights to a scalar.
//!
//! Source: Ouyang et al., Training language models to follow instructions with human feedback (2022, arXiv:2203.02155). The folder is a
//! model folder (the backbone, with the head that it came with) beside `score.safetensors`, which holds `score.weight`.
//!
//! Shapes: `C` channels, `S` sequences.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cupola_specs::job::Precision;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use tch::{Device, Kind, Tensor};

use super::RlhfError;
use crate::job::{JobError, write_durably};
use crate::model::{Network, ParamGroup, Parameter, SaveFacts};
use crate::sft::PackedBatch;

/// The score head's file.
const SCORE_FILE: &str = "score.safetensors";
/// The score head's name, as in Hugging Face's sequence classifiers.
const SCORE_NAME: &str = "score.weight";

/// A backbone and a score head.
#[derive(Debug)]
pub struct RewardModel {
    net: Network,
    /// `[1, C]`
    score: Tensor,
}

impl RewardModel {
    /// A reward model that knows nothing yet: its head is zero, so every answer scores 0 and the first loss is ln 2.
    pub fn new(net: Network) -> Self {
        let channels = net.shape().hidden_size as i64;
        let score = Tensor::zeros([1, channels], (Kind::Float, net.device())).set_requires_grad(true);
        Self { net, score }
    }

    /// Loads a reward model's folder.
    pub fn load(folder: &Path, device: Device) -> Result<Self, RlhfError> {
        let net = Network::load(folder, device)?;
        let score = read_score(&folder.join(SCORE_FILE), net.shape().hidden_size)?.to_device(device);
        Ok(Self { net, score: score.set_requires_grad(true) })
    }

    /// Writes the backbone and the head, and adapters where they train.
    pub fn save(&self, folder: &Path, facts: &SaveFacts) -> Result<(), RlhfError> {
        self.net.save(folder, facts)?;
        self.net.save_adapter(folder, Some(&self.score))?;
        let path = folder.join(SCORE_FILE);
        let values = crate::sft::to_floats(&self.score)?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let broken = |error: safetensors::SafeTensorError| score_error(&path, "a tensor", &error.to_string());
        let view = TensorView::new(Dtype::F32, vec![1, values.len()], &bytes).map_err(broken)?;
        let facts = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let file = serialize([(SCORE_NAME, view)], Some(facts)).map_err(broken)?;
        Ok(write_durably(&path, &file)?)
    }

    /// The backbone.
    pub fn net(&self) -> &Network {
        &self.net
    }

    /// What is trained: the backbone or its adapters, without its output head, which no score passes through, and the score head.
    pub fn parameters(&self) -> Vec<Parameter> {
        let backbone = self.net.trainable().into_iter().filter(|p| p.group != ParamGroup::Head);
        let score = Parameter {
            name: SCORE_NAME.to_owned(),
            tensor: self.score.shallow_clone(),
            group: ParamGroup::Head,
        };
        backbone.chain([score]).collect()
    }

    /// The score of each packed sequence, fp32. `[S]`
    pub fn scores(&self, batch: &PackedBatch, precision: Precision) -> Tensor {
        let hidden = batch.hidden(&self.net, precision).index_select(0, &batch.last); // [S, C]
        hidden.to_kind(Kind::Float).matmul(&self.score.transpose(0, 1)).squeeze_dim(1) // [S]
    }
}

fn read_score(path: &Path, channels: u64) -> Result<Tensor, RlhfError> {
    let bytes = std::fs::read(path).map_err(|error| JobError::io(path, error))?;
    let file =
        SafeTensors::deserialize(&bytes).map_err(|e| score_error(path, "safetensors", &e.to_string()))?;
    let view =
        file.tensor(SCORE_NAME).map_err(|e| score_error(path, "a tensor score.weight", &e.to_string()))?;
    if view.dtype() != Dtype::F32 || view.shape() != [1, channels as usize] {
        let expected = format!("F32 [1, {channels}]");
        return Err(score_error(path, &expected, &format!("{:?} {:?}", view.dtype(), view.shape())));
    }
    Ok(Tensor::f_from_data_size(view.data(), &[1, channels as i64], Kind::Float)?)
}

fn score_error(path: &Path, expected: &str, got: &str) -> RlhfError {
    let path = PathBuf::from(path);
    RlhfError::ScoreHead { path, field: SCORE_NAME, expected: expected.to_owned(), got: got.to_owned() }
}

#[cfg(test)]
mod tests {
    use cupola_specs::job::Family;

    use super::*;
    use crate::model::depth_shape;
    use crate::sft::to_floats;
    use crate::tokenizer::EncodedChat;

    fn sequences() -> Vec<EncodedChat> {
        let sequence = |ids: Vec<u32>| EncodedChat { trained: vec![true; ids.len()], ids };
        vec![sequence(vec![1, 2, 3, 4]), sequence(vec![5, 6]), sequence(vec![1, 2, 9])]
    }

    #[test]
    fn it_knows_nothing_at_first_and_is_the_same_after_a_round_trip() {
        let net = Network::init(&depth_shape(Family::Transformer, 1, 32), 64, 3, Device::Cpu).unwrap();
        let mut model = RewardModel::new(net);
        let all = sequences();
        let batch = PackedBatch::pack(model.net(), &all.iter().collect::<Vec<_>>(), 16).unwrap();
        assert_eq!(to_floats(&model.scores(&batch, Precision::Fp32)).unwrap(), [0.0; 3]);
        let _ = tch::no_grad(|| model.score.fill_(0.5));
        let scores = to_floats(&model.scores(&batch, Precision::Fp32)).unwrap();
        assert!((scores[0] - scores[1]).abs() > 1e-3 && (scores[0] - scores[2]).abs() > 1e-3, "{scores:?}");
        let dir = tempfile::tempdir().unwrap();
        let facts = SaveFacts { bos_token_id: 0, stop_token_ids: vec![2], pad_token_id: 3 };
        model.save(dir.path(), &facts).unwrap();
        let loaded = RewardModel::load(dir.path(), Device::Cpu).unwrap();
        assert_eq!(to_floats(&loaded.scores(&batch, Precision::Fp32)).unwrap(), scores);
        std::fs::remove_file(dir.path().join(SCORE_FILE)).unwrap();
        assert!(RewardModel::load(dir.path(), Device::Cpu).is_err());
    }
}
