//! A stage that learns from preference pairs, from its self-test to its held-out numbers: the reward model's and the direct methods'.

use cupola_specs::job::{BatchParams, CheckpointParams, OptimizerParams, Precision};

use super::held_out::{first_loss_self_test, measure_held_out};
use super::pair_objective::{PairLearner, PairObjective};
use super::{PairData, RlhfError};
use crate::job::StepContext;
use crate::sft::{
    Chosen, PassOrder, ScoreOptions, StageResult, StageRules, item_schedule, packing_self_test, stage_plan,
    stage_rates,
};
use crate::tokenizer::EncodedChat;
use crate::train::{TrainOutcome, accumulation_self_test, step_gradient, train};

/// Pairs whose answers the packing test reads.
const SELF_TEST_PAIRS: usize = 8;

/// What a stage trains by.
#[derive(Debug)]
pub(super) struct PairTraining<'a> {
    /// Rates and batch that `auto` stands for.
    pub rules: StageRules,
    /// Optimisers.
    pub optimizer: &'a OptimizerParams,
    /// Batch sizes.
    pub batch: &'a BatchParams,
    /// When states are kept.
    pub checkpoint: CheckpointParams,
    /// Passes over the pairs.
    pub epochs: f64,
    /// Tokens of a row.
    pub context_length: u64,
    /// Number format.
    pub precision: Precision,
    /// Name of the seed that orders the pairs.
    pub order: &'static str,
    /// What an untrained learner's loss must be, and why.
    pub first_loss: (&'static str, f64),
}

impl PairTraining<'_> {
    /// Trains `learner`; `held_out` is the same one as it judges the held-out pairs.
    pub(super) fn run(
        &self,
        ctx: &StepContext,
        data: PairData,
        learner: PairLearner<'_>,
        held_out: PairLearner<'_>,
    ) -> Result<(TrainOutcome, StageResult), RlhfError> {
        let (row_tokens, precision) = (self.context_length as usize, self.precision);
        first_loss_self_test(&learner, &data.train, row_tokens, precision, self.first_loss)?;
        let few = data.train.iter().take(SELF_TEST_PAIRS);
        let answers: Vec<EncodedChat> =
            few.flat_map(|pair| [pair.chosen.clone(), pair.rejected.clone()]).collect();
        packing_self_test(learner.net(), &answers, ScoreOptions { row_tokens, precision })?;
        let mut chosen = Chosen::new();
        let rates = stage_rates(self.optimizer, learner.net(), precision, self.rules, &mut chosen);
        let pair_tokens = data.tokens as f64 / data.train.len() as f64;
        let schedule =
            item_schedule(self.batch, data.train.len(), pair_tokens, self.epochs, self.rules, &mut chosen)
                .eased(ctx.job().micro_batch_halvings)?
                .shared(ctx.place().world_size as u64);
        let plan = stage_plan(self.optimizer, &rates, schedule.steps(), self.checkpoint, self.rules);
        let mut objective = PairObjective {
            learner,
            pairs: &data.train,
            order: PassOrder::new(ctx.seed(self.order), data.train.len()),
            schedule,
            row_tokens,
            precision,
        };
        accumulation_self_test(schedule.first_items(), precision, &mut |micro_items| {
            let schedule = schedule.first(micro_items);
            step_gradient(&mut PairObjective { schedule, ..objective.clone() }, 0)
        })?;
        learner.net().drop_out_from(ctx.seed("lora dropout"));
        let outcome = train(ctx, &plan, &mut objective)?;
        let finals = measure_held_out(ctx, &held_out, &data.validation, row_tokens, precision)?;
        let result = StageResult {
            chosen,
            finals,
            warnings: data.warnings,
            tokens_read: (data.tokens as f64 * self.epochs) as u64,
            context_length: self.context_length,
        };
        Ok((outcome, result))
    }
}
