//! Scores of whole sequences under a model: the one way in which SFT validates, DPO takes its reference and eval measures.

use cupola_specs::job::Precision;
use tch::{Device, Kind, Tensor};

use super::SftError;
use super::batch::{PackedBatch, plan_rows};
use crate::model::Network;
use crate::tokenizer::EncodedChat;

/// Tokens of one forward pass without gradients.
const BATCH_TOKENS: usize = 8192;
/// Chats that the self-test compares.
const SELF_TEST_CHATS: usize = 6;

/// How sequences are scored.
#[derive(Debug, Clone, Copy)]
pub struct ScoreOptions {
    /// Longest row, tokens.
    pub row_tokens: usize,
    /// Number format.
    pub precision: Precision,
}

/// Score of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SequenceScore {
    /// Sum of its trained tokens' log-probabilities, nats (not positive).
    pub log_prob: f64,
    /// Trained tokens.
    pub tokens: u64,
}

/// Scores sequences; `each_batch` hears how many of how many are done and may stop with an error.
pub fn score_sequences<E: From<SftError>>(
    net: &Network,
    sequences: &[EncodedChat],
    options: ScoreOptions,
    each_batch: &mut dyn FnMut(usize, usize) -> Result<(), E>,
) -> Result<Vec<SequenceScore>, E> {
    let lengths: Vec<usize> = sequences.iter().map(|sequence| sequence.ids.len()).collect();
    let rows = plan_rows(net, &lengths, options.row_tokens);
    let rows_per_batch = (BATCH_TOKENS / options.row_tokens).max(1);
    let mut scores = vec![SequenceScore::default(); sequences.len()];
    let mut done = 0;
    for batch_rows in rows.chunks(rows_per_batch) {
        let indices: Vec<usize> = batch_rows.iter().flatten().copied().collect();
        let sums = score_rows(net, sequences, batch_rows, &indices, options)?;
        for (index, sum) in indices.iter().zip(sums) {
            let tokens = sequences[*index].trained.iter().skip(1).filter(|on| **on).count() as u64;
            scores[*index] = SequenceScore { log_prob: f64::from(sum), tokens };
        }
        done += indices.len();
        each_batch(done, sequences.len())?;
    }
    Ok(scores)
}

/// Scores of the sequences in some rows, in the order of `indices`.
fn score_rows(
    net: &Network,
    sequences: &[EncodedChat],
    rows: &[Vec<usize>],
    indices: &[usize],
    options: ScoreOptions,
) -> Result<Vec<f32>, SftError> {
    let _no_grad = tch::no_grad_guard();
    let chosen: Vec<&EncodedChat> = indices.iter().map(|&index| &sequences[index]).collect();
    let mut next = 0..;
    let local: Vec<Vec<usize>> = rows.iter().map(|row| next.by_ref().take(row.len()).collect()).collect();
    let batch = PackedBatch::new(&chosen, &local, net.device())?;
    if batch.num_trained == 0 {
        return Ok(vec![0.0; indices.len()]);
    }
    let sums = batch.sum_by_sequence(&batch.log_probs(net, options.precision)); // [S]
    to_floats(&sums)
}

/// A tensor's values on the CPU.
pub fn to_floats(tensor: &Tensor) -> Result<Vec<f32>, SftError> {
    let flat =
        tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?.f_view([-1])?;
    Ok(Vec::<f32>::try_from(&flat)?)
}

/// Checks that a few sequences score the same packed into shared rows as alone: the document masks hold.
pub fn packing_self_test(
    net: &Network,
    sequences: &[EncodedChat],
    options: ScoreOptions,
) -> Result<(), SftError> {
    let few: Vec<EncodedChat> = {
        let mut by_length: Vec<&EncodedChat> = sequences.iter().collect();
        by_length.sort_by_key(|sequence| sequence.ids.len());
        by_length.into_iter().take(SELF_TEST_CHATS).cloned().collect()
    };
    let lengths: Vec<usize> = few.iter().map(|sequence| sequence.ids.len()).collect();
    let rows = plan_rows(net, &lengths, options.row_tokens);
    let refs: Vec<&EncodedChat> = few.iter().collect();
    compare_packed(net, &few, &PackedBatch::new(&refs, &rows, net.device())?, options)
}

/// Compares what sequences score in a packed batch with what each scores alone.
fn compare_packed(
    net: &Network,
    sequences: &[EncodedChat],
    packed: &PackedBatch,
    options: ScoreOptions,
) -> Result<(), SftError> {
    let _no_grad = tch::no_grad_guard();
    if packed.num_trained == 0 {
        return Ok(());
    }
    let all: Vec<usize> = (0..sequences.len()).collect();
    let alone: Vec<Vec<usize>> = all.iter().map(|&index| vec![index]).collect();
    let expected = score_rows(net, sequences, &alone, &all, options)?;
    let got = to_floats(&packed.sum_by_sequence(&packed.log_probs(net, options.precision)))?;
    let (relative, least) = match options.precision {
        Precision::Fp32 | Precision::Auto => (1e-4, 1.0),
        Precision::Bf16 => (2e-2, 10.0),
    };
    for (expected, got) in expected.into_iter().map(f64::from).zip(got.into_iter().map(f64::from)) {
        let tolerance = relative * expected.abs().max(least);
        // Asked this way round, a NaN does not pass.
        let is_near = (expected - got).abs() <= tolerance;
        if !is_near {
            return Err(SftError::SelfTest { check: "packed equals unpacked", expected, got, tolerance });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cupola_specs::job::Family;

    use super::*;
    use crate::model::{RowLayout, depth_shape};

    #[test]
    fn a_dropped_mask_is_found() {
        let fresh = Network::init(&depth_shape(Family::Transformer, 1, 32), 64, 3, Device::Cpu).unwrap();
        let net = crate::generate::stirred(&fresh).unwrap().unwrap();
        let sequence = |seed: u32| EncodedChat {
            ids: (0..7).map(|t| (seed * 37 + t * 11 + 5) % 64).collect(),
            trained: vec![true; 7],
        };
        let sequences = [sequence(1), sequence(2)];
        let options = ScoreOptions { row_tokens: 16, precision: Precision::Fp32 };
        let refs: Vec<&EncodedChat> = sequences.iter().collect();
        let mut packed = PackedBatch::new(&refs, &[vec![0, 1]], Device::Cpu).unwrap();
        compare_packed(&net, &sequences, &packed, options).unwrap();
        packed.layout = RowLayout::Causal;
        let error = compare_packed(&net, &sequences, &packed, options).unwrap_err();
        assert!(matches!(error, SftError::SelfTest { check: "packed equals unpacked", .. }), "{error}");
    }
}
