//! Packed equals unpacked: the documents of a row do not see each other.
//!
//! An untrained network's blocks add nothing to its residual stream, so nothing could be seen there: the test runs on up to two layers of the
//! run's shape with weights away from zero.

use cupola_specs::job::{ModelShape, Precision};
use tch::{Kind, Tensor};

use super::{LanguageRun, TrainError};
use crate::model::{Network, ParamGroup, RowLayout};

/// Layers of the network that is tested.
const LAYERS: u64 = 2;
/// Largest difference that is rounding in fp32, relative to the largest hidden state.
const LIMIT: f64 = 1e-4;

/// Compares the hidden states of the first row that holds several documents with those of the documents alone. Returns the largest relative
/// difference; none where no row of the first step holds several.
pub fn packed_self_test(run: &LanguageRun) -> Result<Option<f64>, TrainError> {
    let _guard = tch::no_grad_guard();
    let probe = probe(&run.network)?;
    for row in run.first_rows(run.step_rows()) {
        let batch = run.row_set().batch(&[row], probe.device())?;
        let RowLayout::Documents { segment, .. } = &batch.layout else { return Ok(None) };
        let segments = Vec::<i64>::try_from(segment.view([-1]))?;
        let targets = Vec::<i64>::try_from(batch.targets.view([-1]))?;
        let of_documents = segments.iter().zip(&targets).filter(|(_, target)| **target >= 0);
        if of_documents.map(|(segment, _)| *segment).max().is_none_or(|last| last == 0) {
            continue;
        }
        let packed = probe.hidden(&batch.inputs, &batch.layout, Precision::Fp32); // [1, T, C]
        let mut alone = Vec::new();
        for document in segments.chunk_by(|a, b| a == b) {
            let start = alone.iter().map(|part: &Tensor| part.size()[1]).sum();
            let ids = batch.inputs.narrow(1, start, document.len() as i64);
            alone.push(probe.hidden(&ids, &RowLayout::Causal, Precision::Fp32));
        }
        let alone = Tensor::f_cat(&alone, 1)?; // [1, T, C]
        let largest = |tensor: &Tensor| tensor.abs().max().to_kind(Kind::Double).double_value(&[]);
        let difference = largest(&(&packed - &alone)) / largest(&alone);
        if difference.is_nan() || difference > LIMIT {
            return Err(TrainError::SelfTest {
                test: "packed",
                message: format!("a document in a packed row and alone differ by {difference:.1e}"),
            });
        }
        return Ok(Some(difference));
    }
    Ok(None)
}

/// A shallow network of the same shape, with matrices away from zero.
fn probe(network: &Network) -> Result<Network, TrainError> {
    let shape = network.shape();
    let shape = ModelShape { num_hidden_layers: shape.num_hidden_layers.min(LAYERS), ..shape.clone() };
    let probe = Network::init(&shape, network.vocab_size(), 1, network.device())?;
    let scale = (shape.hidden_size as f64).sqrt().recip();
    for parameter in probe.parameters().iter().filter(|p| p.group == ParamGroup::Matrix) {
        let mut weight = parameter.tensor.shallow_clone();
        let count = weight.numel() as i64;
        let wave = Tensor::arange(count, (Kind::Float, weight.device())) * 0.7;
        weight.f_copy_(&(wave.sin() * scale).view_as(&weight))?;
    }
    Ok(probe)
}
