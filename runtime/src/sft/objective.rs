//! Cross-entropy on the trained tokens of packed chats.

use std::time::Instant;

use cupola_specs::job::Precision;
use tch::Kind;

use super::{ItemSchedule, PackedBatch, PassOrder, SftError};
use crate::model::{Network, Parameter};
use crate::telemetry::{DataPosition, StepWork};
use crate::tokenizer::EncodedChat;
use crate::train::{Curves, Objective, StepLoss, TrainError, accumulation_self_test, step_gradient};

/// Fine-tuning on chats: items are packed rows.
#[derive(Debug, Clone)]
pub struct SftObjective<'a> {
    /// The network that trains.
    pub net: &'a Network,
    /// The chats.
    pub chats: &'a [EncodedChat],
    /// Their names.
    pub names: &'a [String],
    /// Packed rows of chat indices.
    pub rows: &'a [Vec<usize>],
    /// In which order rows come.
    pub order: PassOrder,
    /// How many come at once.
    pub schedule: ItemSchedule,
    /// Number format.
    pub precision: Precision,
}

impl SftObjective<'_> {
    /// Trained tokens of the rows at some positions.
    fn trained(&mut self, positions: std::ops::Range<u64>) -> u64 {
        let rows = self.order.items(positions);
        rows.iter().flat_map(|&row| &self.rows[row]).map(|&chat| num_trained(&self.chats[chat])).sum()
    }

    /// Checks that a step's gradient does not depend on how its rows are cut into micro-batches.
    pub fn self_test(&self) -> Result<f64, TrainError> {
        accumulation_self_test(self.schedule.first_items(), self.precision, &mut |micro_items| {
            let schedule = self.schedule.first(micro_items);
            step_gradient(&mut SftObjective { schedule, ..self.clone() }, 0)
        })
    }
}

/// Tokens of a chat that carry loss: the first token of a sequence is never predicted.
pub fn num_trained(chat: &EncodedChat) -> u64 {
    chat.trained.iter().skip(1).filter(|on| **on).count() as u64
}

impl Objective for SftObjective<'_> {
    fn parameters(&self) -> Vec<Parameter> {
        self.net.trainable()
    }

    fn micro_batches(&self, step: u64) -> u64 {
        self.schedule.micro_batches(step)
    }

    fn loss(&mut self, step: u64, micro: u64) -> Result<StepLoss, TrainError> {
        let of_step = self.trained(self.schedule.step_range(step));
        let begin = Instant::now();
        let rows = self.order.items(self.schedule.micro_range(step, micro));
        let mut chats = Vec::new();
        let mut local = Vec::with_capacity(rows.len());
        for row in rows {
            let start = chats.len();
            chats.extend(self.rows[row].iter().map(|&chat| &self.chats[chat]));
            local.push((start..chats.len()).collect());
        }
        let batch = PackedBatch::new(&chats, &local, self.net.device()).map_err(|e| TrainError::stage(&e))?;
        if batch.num_trained == 0 {
            return Err(TrainError::stage(&SftError::NothingTrained { stage: "sft", step, micro }));
        }
        let data_secs = begin.elapsed().as_secs_f64();
        let log_probs = self.net.training_pass(step, micro, || batch.log_probs(self.net, self.precision));
        let loss = -log_probs.sum(Kind::Float) / of_step as f64;
        Ok(StepLoss { loss, auxiliary: None, tokens: batch.num_trained, metrics: Vec::new(), data_secs })
    }

    fn row_names(&mut self, step: u64, micro: u64) -> Vec<String> {
        let rows = self.order.items(self.schedule.micro_range(step, micro));
        rows.iter().flat_map(|&row| &self.rows[row]).map(|&chat| self.names[chat].clone()).collect()
    }

    fn after_step(&mut self, _done: u64, _curves: &mut Curves) -> Result<(), TrainError> {
        Ok(())
    }

    fn data_cursor(&self, done: u64) -> u64 {
        self.schedule.step_range(done).start
    }

    fn work(&mut self, step: u64) -> Option<StepWork> {
        let rows = self.order.items(self.schedule.step_range(step));
        let lengths =
            rows.iter().flat_map(|&row| &self.rows[row]).map(|&chat| self.chats[chat].ids.len() as u64);
        // A chat sees itself alone: its attention is that of a row of its length.
        let flops = lengths.map(|length| self.net.flops_per_token(length) * length as f64).sum();
        Some(StepWork { flops, precision: self.precision })
    }

    fn data_position(&self, done: u64) -> DataPosition {
        let rows = self.data_cursor(done);
        let epochs = vec![(String::new(), rows as f64 / self.rows.len().max(1) as f64)];
        DataPosition { rows, tokens: None, epochs }
    }
}

#[cfg(test)]
mod tests {
    use cupola_specs::job::Family;
    use tch::{Device, Tensor};

    use super::*;
    use crate::generate::stirred;
    use crate::model::depth_shape;

    /// Eight rows of one chat each, with from 1 to 12 trained tokens.
    fn chats() -> Vec<EncodedChat> {
        let chat = |seed: u32| {
            let (length, trained) = (14 + seed as usize % 3, [1, 12, 2, 9, 3, 1, 7, 5][seed as usize]);
            let ids = (0..length as u32).map(|t| (seed * 37 + t * 11 + 5) % 64).collect();
            EncodedChat { ids, trained: (0..length).map(|t| t >= length - trained).collect() }
        };
        (0..8).map(chat).collect()
    }

    fn of_step(net: &Network, micro_items: u64) -> (f64, Tensor) {
        let (chats, rows) = (chats(), (0..8).map(|row| vec![row]).collect::<Vec<_>>());
        let names = vec![String::new(); 8];
        let schedule = ItemSchedule { total_items: 8, step_items: 8, micro_items };
        let (order, precision) = (PassOrder::new(3, 8), Precision::Fp32);
        let mut objective =
            SftObjective { net, chats: &chats, names: &names, rows: &rows, order, schedule, precision };
        assert_eq!(objective.micro_batches(0), 8 / micro_items);
        step_gradient(&mut objective, 0).unwrap()
    }

    #[test]
    fn uneven_micro_batches_weigh_by_their_trained_tokens() {
        let fresh = Network::init(&depth_shape(Family::Transformer, 1, 32), 64, 3, Device::Cpu).unwrap();
        let net = stirred(&fresh).unwrap().unwrap();
        let (loss, whole) = of_step(&net, 8);
        for micro_items in [4, 2, 1] {
            let (sum, parts) = of_step(&net, micro_items);
            let apart = ((&parts - &whole).norm() / whole.norm()).double_value(&[]);
            println!("{}×{micro_items}: loss {loss} and {sum}, gradients {apart:.1e} apart", 8 / micro_items);
            assert!((sum - loss).abs() < 1e-5 * loss && apart < 1e-5, "{sum} and {loss}, {apart:e}");
        }
        // The mean over all 40 trained tokens, counted by hand from each chat alone.
        let mut nats = 0.0;
        for chat in &chats() {
            let batch = PackedBatch::new(&[chat], &[vec![0]], Device::Cpu).unwrap();
            nats -=
                tch::no_grad(|| batch.log_probs(&net, Precision::Fp32)).sum(Kind::Double).double_value(&[]);
        }
        assert!((nats / 40.0 - loss).abs() < 1e-5 * loss, "{} and {loss}", nats / 40.0);
        accumulation_self_test(8, Precision::Fp32, &mut |micro_items| Ok(of_step(&net, micro_items)))
            .unwrap();
    }
}
