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
    let all: Vec<usize> = (0..few.len()).collect();
    let alone: Vec<Vec<usize>> = all.iter().map(|&index| vec![index]).collect();
    let lengths: Vec<usize> = few.iter().map(|sequence| sequence.ids.len()).collect();
    let packed = plan_rows(net, &lengths, options.row_tokens);
    let order: Vec<usize> = packed.iter().flatten().copied().collect();
    let expected: f64 = score_rows(net, &few, &alone, &all, options)?.iter().map(|x| f64::from(*x)).sum();
    let got: f64 = score_rows(net, &few, &packed, &order, options)?.iter().map(|x| f64::from(*x)).sum();
    let relative = match options.precision {
        Precision::Fp32 | Precision::Auto => 1e-4,
        Precision::Bf16 => 2e-2,
    };
    let tolerance = relative * expected.abs().max(1.0);
    if (expected - got).abs() <= tolerance {
        return Ok(());
    }
    Err(SftError::SelfTest { check: "packed equals unpacked", expected, got, tolerance })
}
