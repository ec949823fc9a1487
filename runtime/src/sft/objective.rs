//! Cross-entropy on the trained tokens of packed chats.

use cupola_specs::job::Precision;
use tch::Kind;

use super::{ItemSchedule, PackedBatch, PassOrder, SftError};
use crate::model::{Network, Parameter};
use crate::tokenizer::EncodedChat;
use crate::train::{Curves, Objective, StepLoss, TrainError};

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
}

/// Tokens of a chat that carry loss: the first token of a sequence is never predicted.
pub fn num_trained(chat: &EncodedChat) -> u64 {
    chat.trained.iter().skip(1).filter(|on| **on).count() as u64
}

impl Objective for SftObjective<'_> {
    fn parameters(&self) -> Vec<Parameter> {
        self.net.parameters().iter().map(Parameter::handle).collect()
    }

    fn micro_batches(&self, step: u64) -> u64 {
        self.schedule.micro_batches(step)
    }

    fn loss(&mut self, step: u64, micro: u64) -> Result<StepLoss, TrainError> {
        let of_step = self.trained(self.schedule.step_range(step));
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
        let loss = -batch.log_probs(self.net, self.precision).sum(Kind::Float) / of_step as f64;
        Ok(StepLoss { loss, tokens: batch.num_trained, metrics: Vec::new() })
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
}
