//! The reward-model step: a policy's weights and preference pairs in, a scorer of answers out.

use cupola_specs::job::RewardModelParams;
use serde_json::json;

use super::super::pair_objective::PairLearner;
use super::super::pair_training::PairTraining;
use super::super::{RewardModel, RlhfError, read_pair_data};
use crate::job::{StepContext, Summary};
use crate::model::Network;
use crate::sft::{StageRules, prepare, save_beside, save_facts, training_record};
use crate::tokenizer::Tokenizer;

/// Rates and batch of the stage.
const RULES: StageRules = StageRules {
    stage: "reward_model",
    lr: 3e-4,
    matrix_lr: 2e-3,
    global_tokens: RewardModelParams::STEP_TOKENS,
};

/// Runs the step.
pub fn run(ctx: &StepContext, params: &RewardModelParams) -> Result<Summary, RlhfError> {
    let folder = &ctx.input("policy")?.path;
    let tokenizer = Tokenizer::load(folder)?;
    let data = read_pair_data(ctx, &tokenizer, params.context_length as usize)?;
    let (num_pairs, num_held_out) = (data.train.len(), data.validation.len());
    let mut net = Network::load_for(folder, ctx.tensor_device(), params.context_length)?;
    prepare(ctx, &mut net, params.lora.as_ref())?;
    let model = RewardModel::new(net);
    let training = PairTraining {
        rules: RULES,
        optimizer: &params.optimizer,
        batch: &params.batch,
        checkpoint: params.checkpoint,
        epochs: params.epochs,
        context_length: params.context_length,
        precision: params.precision,
        order: "reward model order",
        first_loss: ("an untrained reward model's loss is ln 2", std::f64::consts::LN_2),
    };
    let learner = PairLearner::Reward(&model);
    let facts = data.facts();
    let (outcome, result) = training.run(ctx, data, learner, learner)?;

    let mut summary = Summary::new();
    summary.insert("pairs".into(), json!(num_pairs));
    summary.extend(facts);
    summary.insert("validation_pairs".into(), json!(num_held_out));
    summary.insert("steps".into(), json!(outcome.steps));
    if let Some(accuracy) = result.finals.get("validation_accuracy") {
        ctx.events().metric("validation_accuracy", outcome.steps, accuracy.value);
        let (low, high) = (accuracy.low, accuracy.high);
        summary.insert("validation_accuracy".into(), json!(accuracy.value));
        summary.insert("validation_accuracy_low".into(), json!(low));
        summary.insert("validation_accuracy_high".into(), json!(high));
    }
    model.save(ctx.staging(), &save_facts(&tokenizer))?;
    save_beside(ctx, &tokenizer, &training_record(RULES.stage, model.net(), &outcome, result))?;
    Ok(summary)
}
