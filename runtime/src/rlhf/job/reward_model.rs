//! The reward-model step: a policy's weights and preference pairs in, a scorer of answers out.

use cupola_specs::job::RewardModelParams;
use serde_json::json;

use super::super::held_out::{first_loss_self_test, measure_held_out};
use super::super::pair_objective::{PairLearner, PairObjective};
use super::super::{RewardModel, RlhfError, read_pair_data};
use crate::job::{StepContext, Summary};
use crate::model::Network;
use crate::sft::{
    Chosen, PassOrder, StageResult, StageRules, item_schedule, save_beside, save_facts, stage_plan,
    stage_rates, training_record,
};
use crate::tokenizer::Tokenizer;
use crate::train::train;

/// Rates and batch of the stage.
const RULES: StageRules =
    StageRules { stage: "reward_model", lr: 3e-4, matrix_lr: 2e-3, global_tokens: 8192 };

/// Runs the step.
pub fn run(ctx: &StepContext, params: &RewardModelParams) -> Result<Summary, RlhfError> {
    let folder = &ctx.input("policy")?.path;
    let tokenizer = Tokenizer::load(folder)?;
    let row_tokens = params.context_length as usize;
    let data = read_pair_data(ctx, &tokenizer, row_tokens)?;
    let model = RewardModel::new(Network::load_for(folder, ctx.tensor_device(), params.context_length)?);
    let check = ("an untrained reward model's loss is ln 2", std::f64::consts::LN_2);
    first_loss_self_test(&PairLearner::Reward(&model), &data.train, row_tokens, params.precision, check)?;

    let mut chosen = Chosen::new();
    let rates = stage_rates(&params.optimizer, model.net(), params.precision, RULES, &mut chosen);
    let pair_tokens = data.tokens as f64 / data.train.len() as f64;
    let schedule =
        item_schedule(&params.batch, data.train.len(), pair_tokens, params.epochs, RULES, &mut chosen);
    let plan = stage_plan(&params.optimizer, &rates, schedule.steps(), params.checkpoint, RULES);
    let mut objective = PairObjective {
        learner: PairLearner::Reward(&model),
        pairs: &data.train,
        order: PassOrder::new(ctx.seed("reward model order"), data.train.len()),
        schedule,
        row_tokens,
        precision: params.precision,
    };
    let outcome = train(ctx, &plan, &mut objective)?;
    let learner = PairLearner::Reward(&model);
    let finals = measure_held_out(ctx, &learner, &data.validation, row_tokens, params.precision)?;

    let mut summary = Summary::new();
    summary.insert("pairs".into(), json!(data.train.len()));
    summary.insert("validation_pairs".into(), json!(data.validation.len()));
    summary.insert("steps".into(), json!(outcome.steps));
    if let Some(accuracy) = finals.get("validation_accuracy") {
        ctx.events().metric("validation_accuracy", outcome.steps, accuracy.value);
        let (low, high) = (accuracy.low, accuracy.high);
        summary.insert("validation_accuracy".into(), json!(accuracy.value));
        summary.insert("validation_accuracy_low".into(), json!(low));
        summary.insert("validation_accuracy_high".into(), json!(high));
    }
    let result = StageResult {
        chosen,
        finals,
        warnings: data.warnings,
        tokens_read: (data.tokens as f64 * params.epochs) as u64,
        context_length: params.context_length,
    };
    model.save(ctx.staging(), &save_facts(&tokenizer))?;
    save_beside(ctx, &tokenizer, &training_record("reward_model", model.net(), &outcome, result))?;
    Ok(summary)
}
