//! Training on preference pairs: the reward model's and the direct methods' losses over the same batches of packed pairs.

use cupola_specs::job::Precision;
use tch::{Kind, Tensor};

use super::loss::{PairValues, bradley_terry, dpo, ipo, preference_gap};
use super::pairs::{EncodedPair, pack_pairs, pair_log_probs, pair_tokens, split_pairs};
use super::{RewardModel, RlhfError};
use crate::model::{Network, Parameter};
use crate::sft::{ItemSchedule, PassOrder};
use crate::telemetry::StepWork;
use crate::train::{Curves, Objective, StepLoss, TrainError};

/// What is learnt from pairs.
#[derive(Debug, Clone, Copy)]
pub(super) enum PairLearner<'a> {
    /// A reward model.
    Reward(&'a RewardModel),
    /// A policy, by DPO or IPO.
    Policy {
        /// The policy that trains.
        net: &'a Network,
        /// Log-probabilities of each pair's answers under the frozen reference.
        reference: &'a [ReferenceLogProbs],
        /// β.
        beta: f64,
        /// IPO's loss in place of DPO's.
        identity: bool,
        /// Log-ratios a token in place of an answer's sums.
        length_normalized: bool,
    },
}

/// Log-probabilities of a pair's answers under the reference policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ReferenceLogProbs {
    /// Of the better answer.
    pub chosen: f64,
    /// Of the worse answer.
    pub rejected: f64,
}

/// A batch of pairs, judged.
#[derive(Debug)]
pub(super) struct PairOutcome {
    /// Loss by pair. `[P]`
    pub loss: Tensor,
    /// Reward of the better answers less that of the worse ones. `[P]`
    pub margin: Tensor,
    /// How far the policy has moved from the reference on these answers, nats a pair's answer: an estimate of KL(reference ‖ policy). `[P]`
    pub kl: Option<Tensor>,
    /// Tokens that carry loss.
    pub tokens: u64,
}

impl PairLearner<'_> {
    /// The network under the learner.
    pub(super) fn net(&self) -> &Network {
        match self {
            Self::Reward(model) => model.net(),
            Self::Policy { net, .. } => net,
        }
    }

    /// Losses and margins of the pairs with these indices.
    pub(super) fn judge(
        &self,
        pairs: &[EncodedPair],
        indices: &[usize],
        row_tokens: usize,
        precision: Precision,
    ) -> Result<PairOutcome, RlhfError> {
        let chosen: Vec<&EncodedPair> = indices.iter().map(|&index| &pairs[index]).collect();
        let batch = pack_pairs(self.net(), &chosen, row_tokens)?;
        let tokens = batch.num_trained;
        match self {
            Self::Reward(model) => {
                let scores = split_pairs(&model.scores(&batch, precision));
                let loss = bradley_terry(&scores.chosen, &scores.rejected);
                Ok(PairOutcome { loss, margin: scores.chosen - scores.rejected, kl: None, tokens })
            }
            Self::Policy { net, reference, beta, identity, length_normalized } => {
                let policy = pair_log_probs(net, &batch, precision);
                let reference = reference_tensors(reference, indices, net)?;
                let lengths = length_normalized.then(|| pair_tokens(&batch));
                let gap = preference_gap(&policy, &reference, lengths.as_ref());
                let loss = if *identity { ipo(&gap, *beta) } else { dpo(&gap, *beta) };
                let moved =
                    (&reference.chosen - &policy.chosen + &reference.rejected - &policy.rejected) * 0.5;
                Ok(PairOutcome { loss, margin: gap * *beta, kl: Some(moved), tokens })
            }
        }
    }
}

fn reference_tensors(
    reference: &[ReferenceLogProbs],
    indices: &[usize],
    net: &Network,
) -> Result<PairValues, RlhfError> {
    let tensor = |value: &dyn Fn(&ReferenceLogProbs) -> f64| -> Result<Tensor, RlhfError> {
        let values: Vec<f32> = indices.iter().map(|&index| value(&reference[index]) as f32).collect();
        Ok(Tensor::from_slice(&values).f_to_device(net.device())?)
    };
    Ok(PairValues { chosen: tensor(&|r| r.chosen)?, rejected: tensor(&|r| r.rejected)? })
}

/// The objective: items are pairs.
#[derive(Debug, Clone)]
pub(super) struct PairObjective<'a> {
    /// What learns.
    pub learner: PairLearner<'a>,
    /// The pairs.
    pub pairs: &'a [EncodedPair],
    /// In which order they come.
    pub order: PassOrder,
    /// How many come at once.
    pub schedule: ItemSchedule,
    /// Longest row, tokens.
    pub row_tokens: usize,
    /// Number format.
    pub precision: Precision,
}

impl Objective for PairObjective<'_> {
    fn parameters(&self) -> Vec<Parameter> {
        match &self.learner {
            PairLearner::Reward(model) => model.parameters(),
            PairLearner::Policy { net, .. } => net.trainable(),
        }
    }

    fn micro_batches(&self, step: u64) -> u64 {
        self.schedule.micro_batches(step)
    }

    fn loss(&mut self, step: u64, micro: u64) -> Result<StepLoss, TrainError> {
        let range = self.schedule.step_range(step);
        let of_step = (range.end - range.start) as f64;
        let indices = self.order.items(self.schedule.micro_range(step, micro));
        let judge = || self.learner.judge(self.pairs, &indices, self.row_tokens, self.precision);
        let outcome = self
            .learner
            .net()
            .training_pass(step, micro, judge)
            .map_err(|error| TrainError::stage(&error))?;
        let share = |sum: &Tensor| sum.sum(Kind::Float).double_value(&[]) / of_step;
        let margin = outcome.margin.detach();
        let mut metrics = vec![
            ("reward_margin", share(&margin)),
            ("accuracy", share(&margin.gt(0.0).to_kind(Kind::Float))),
        ];
        if let Some(kl) = &outcome.kl {
            metrics.push(("kl", share(&kl.detach())));
        }
        Ok(StepLoss {
            loss: outcome.loss.sum(Kind::Float) / of_step,
            auxiliary: None,
            tokens: outcome.tokens,
            metrics,
            data_secs: 0.0,
        })
    }

    fn row_names(&mut self, step: u64, micro: u64) -> Vec<String> {
        let indices = self.order.items(self.schedule.micro_range(step, micro));
        indices.into_iter().map(|index| format!("pairs.jsonl.zst:{}", self.pairs[index].line)).collect()
    }

    fn after_step(&mut self, _done: u64, _curves: &mut Curves) -> Result<(), TrainError> {
        Ok(())
    }

    fn data_cursor(&self, done: u64) -> u64 {
        self.schedule.step_range(done).start
    }

    fn work(&mut self, step: u64) -> Option<StepWork> {
        let net = self.learner.net();
        let pairs =
            self.order.items(self.schedule.step_range(step)).into_iter().map(|pair| &self.pairs[pair]);
        let lengths = pairs.flat_map(|pair| [pair.chosen.ids.len() as u64, pair.rejected.ids.len() as u64]);
        // The reference's log-probabilities are there before the first step.
        let flops = lengths.map(|length| net.flops_per_token(length) * length as f64).sum();
        Some(StepWork { flops, precision: self.precision })
    }
}
