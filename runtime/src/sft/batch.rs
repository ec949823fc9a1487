//! Packed rows as tensors, and the log-probabilities of their trained tokens.
//!
//! Only positions that predict a trained token go through the output head: with loss on answers alone, that is a small part of a
//! row. Everything that scores or trains on whole sequences stands on this: SFT, reward model, DPO, PPO and the eval suites.
//!
//! Shapes: `B` rows, `T` tokens of a row, `C` channels, `V` vocabulary, `N` trained tokens, `S` sequences.

use cupola_specs::job::Precision;
use tch::{Device, Kind, Tensor};

use super::SftError;
use super::packing::pack_best_fit;
use crate::model::{Network, RowLayout};
use crate::tokenizer::EncodedChat;

/// Rows are as long as their longest content, rounded up to this.
const ROW_STEP: usize = 8;

/// Whole sequences in rows.
#[derive(Debug)]
pub struct PackedBatch {
    /// Token ids, 0 where a row is not full. `[B, T]`
    pub tokens: Tensor,
    /// Documents of the rows.
    pub layout: RowLayout,
    /// Places in the flattened rows that predict a trained token. `[N]`
    pub positions: Tensor,
    /// The trained tokens. `[N]`
    pub targets: Tensor,
    /// The sequence that each trained token belongs to. `[N]`
    pub owners: Tensor,
    /// Place of each sequence's last token in the flattened rows. `[S]`
    pub last: Tensor,
    /// Trained tokens, `N`.
    pub num_trained: u64,
    /// Sequences, `S`.
    pub num_sequences: usize,
}

impl PackedBatch {
    /// Lays sequences out as the network can read them, in rows of at most `row_tokens`.
    pub fn pack(net: &Network, sequences: &[&EncodedChat], row_tokens: usize) -> Result<Self, SftError> {
        let lengths: Vec<usize> = sequences.iter().map(|sequence| sequence.ids.len()).collect();
        Self::new(sequences, &plan_rows(net, &lengths, row_tokens), net.device())
    }

    /// Lays sequences out in the given rows of sequence indices.
    pub fn new(sequences: &[&EncodedChat], rows: &[Vec<usize>], device: Device) -> Result<Self, SftError> {
        let used = |row: &Vec<usize>| row.iter().map(|&index| sequences[index].ids.len()).sum::<usize>();
        let width = rows.iter().map(used).max().unwrap_or(0).next_multiple_of(ROW_STEP);
        let mut tokens = vec![0i64; rows.len() * width];
        // What is left of a row is a document of its own that nothing reads.
        let mut segments = vec![0i64; rows.len() * width];
        let mut places = vec![0i64; rows.len() * width];
        let (mut positions, mut targets, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        let mut last = vec![0i64; sequences.len()];
        for (row_index, row) in rows.iter().enumerate() {
            let mut place = row_index * width;
            for (document, &index) in row.iter().enumerate() {
                let sequence = sequences[index];
                for (offset, (&id, &trained)) in sequence.ids.iter().zip(&sequence.trained).enumerate() {
                    tokens[place + offset] = i64::from(id);
                    segments[place + offset] = document as i64;
                    places[place + offset] = offset as i64;
                    if trained && offset > 0 {
                        positions.push((place + offset - 1) as i64);
                        targets.push(i64::from(id));
                        owners.push(index as i64);
                    }
                }
                place += sequence.ids.len();
                last[index] = place as i64 - 1;
            }
            segments[place..(row_index + 1) * width].fill(row.len() as i64);
        }
        let shape = [rows.len() as i64, width as i64];
        let tensor = |values: &[i64]| Tensor::from_slice(values).f_to_device(device);
        // A row of one sequence needs no mask: what pads it comes after it.
        let layout = if rows.iter().all(|row| row.len() <= 1) {
            RowLayout::Causal
        } else {
            RowLayout::Documents {
                segment: tensor(&segments)?.f_view(shape)?,
                position: tensor(&places)?.f_view(shape)?,
            }
        };
        Ok(Self {
            tokens: tensor(&tokens)?.f_view(shape)?,
            layout,
            num_trained: targets.len() as u64,
            positions: tensor(&positions)?,
            targets: tensor(&targets)?,
            owners: tensor(&owners)?,
            last: tensor(&last)?,
            num_sequences: sequences.len(),
        })
    }

    /// Hidden states of all places, flattened. `[B · T, C]`
    pub fn hidden(&self, net: &Network, precision: Precision) -> Tensor {
        let hidden = net.hidden(&self.tokens, &self.layout, precision); // [B, T, C]
        hidden.flatten(0, 1) // [B · T, C]
    }

    /// Logits at the places that predict a trained token. `[N, V]`
    pub fn logits(&self, net: &Network, precision: Precision) -> Tensor {
        let hidden = self.hidden(net, precision).index_select(0, &self.positions); // [N, C]
        net.logits(&hidden) // [N, V]
    }

    /// Log-probabilities of the trained tokens, fp32. `[N]`
    pub fn log_probs(&self, net: &Network, precision: Precision) -> Tensor {
        let logits = self.logits(net, precision); // [N, V]
        gather_log_probs(&logits, &self.targets)
    }

    /// Sums a value of each trained token by sequence. `[N] → [S]`
    pub fn sum_by_sequence(&self, values: &Tensor) -> Tensor {
        let zeros = Tensor::zeros([self.num_sequences as i64], (Kind::Float, values.device()));
        zeros.index_add(0, &self.owners, values) // [S]
    }
}

/// Rows for sequences of these lengths: best fit, or one sequence a row for a network that carries a state across a row.
pub fn plan_rows(net: &Network, lengths: &[usize], row_tokens: usize) -> Vec<Vec<usize>> {
    if net.supports_documents() {
        pack_best_fit(lengths, row_tokens)
    } else {
        (0..lengths.len()).map(|index| vec![index]).collect()
    }
}

/// Log-probabilities of the targets. `[N, V], [N] → [N]`
pub fn gather_log_probs(logits: &Tensor, targets: &Tensor) -> Tensor {
    let chosen = logits.gather(1, &targets.unsqueeze(1), false).squeeze_dim(1); // [N]
    chosen - logits.logsumexp([1i64], false)
}

#[cfg(test)]
mod tests {
    use cupola_specs::job::Family;

    use super::*;
    use crate::model::depth_shape;
    use crate::sft::{ScoreOptions, SequenceScore, packing_self_test, score_sequences, to_floats};

    fn sequence(seed: u32, length: usize, trained_from: usize) -> EncodedChat {
        let ids = (0..length as u32).map(|t| (seed * 37 + t * 11 + 5) % 64).collect();
        EncodedChat { ids, trained: (0..length).map(|t| t >= trained_from).collect() }
    }

    fn sequences() -> Vec<EncodedChat> {
        vec![sequence(1, 9, 4), sequence(2, 5, 1), sequence(3, 12, 6), sequence(4, 3, 0), sequence(5, 7, 7)]
    }

    #[test]
    fn a_packed_batch_scores_as_the_trainers_own_log_probs_do() {
        let net = Network::init(&depth_shape(Family::Transformer, 1, 32), 64, 3, Device::Cpu).unwrap();
        let all = sequences();
        let options = ScoreOptions { row_tokens: 16, precision: Precision::Fp32 };
        let scores: Vec<SequenceScore> =
            score_sequences::<SftError>(&net, &all, options, &mut |_, _| Ok(())).unwrap();
        packing_self_test(&net, &all, options).unwrap();
        for (sequence, score) in all.iter().zip(&scores) {
            let ids: Vec<i64> = sequence.ids.iter().map(|id| i64::from(*id)).collect();
            let row = |ids: &[i64]| Tensor::from_slice(ids).view([1, -1]);
            let (tokens, targets) = (row(&ids[..ids.len() - 1]), row(&ids[1..]));
            let log_probs =
                crate::model::token_log_probs(&net, &tokens, &targets, &RowLayout::Causal, Precision::Fp32);
            let expected: f32 = to_floats(&log_probs)
                .unwrap()
                .iter()
                .zip(&sequence.trained[1..])
                .filter(|(_, on)| **on)
                .map(|(value, _)| *value)
                .sum();
            assert!((f64::from(expected) - score.log_prob).abs() < 1e-3, "{expected} and {score:?}");
        }
        assert_eq!(scores.iter().map(|score| score.tokens).collect::<Vec<_>>(), [5, 4, 6, 2, 0]);
    }

    #[test]
    fn an_lstm_gets_a_row_for_each_sequence() {
        let net = Network::init(&depth_shape(Family::Lstm, 1, 32), 64, 3, Device::Cpu).unwrap();
        let all = sequences();
        let batch = PackedBatch::pack(&net, &all.iter().collect::<Vec<_>>(), 16).unwrap();
        assert_eq!(batch.tokens.size(), [5, 16]);
        let last = Vec::<i64>::try_from(&batch.last).unwrap();
        assert_eq!(last, [8, 16 + 4, 32 + 11, 48 + 2, 64 + 6]);
        packing_self_test(&net, &all, ScoreOptions { row_tokens: 16, precision: Precision::Fp32 }).unwrap();
    }
}
