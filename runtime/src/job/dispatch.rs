//! The one `match` over the closed set of steps.

use cupola_specs::contract::Failure;
use cupola_specs::job::StepParams;

use super::{StepContext, StepError, Summary, failure_of};

/// Runs the step that the job file holds.
pub(super) fn run_step(ctx: &StepContext) -> Result<Summary, Failure> {
    match &ctx.job().params {
        StepParams::Sft(params) => told(crate::sft::job::run(ctx, params)),
        StepParams::Preferences(params) => told(crate::rlhf::job::run_preferences(ctx, params)),
        StepParams::RewardModel(params) => told(crate::rlhf::job::run_reward_model(ctx, params)),
        StepParams::Optimize(params) => told(crate::rlhf::job::run_optimize(ctx, params)),
        StepParams::Eval(params) => told(crate::eval::job::run(ctx, params)),
        StepParams::Data(params) => told(crate::data::job::run(ctx, params)),
        StepParams::Tokenizer(params) => told(crate::tokenizer::job::run(ctx, params)),
        StepParams::Tokens(params) => told(crate::tokenizer::encode_job::run(ctx, params)),
        StepParams::Pretrain(params) => told(crate::pretrain::job::run(ctx, params)),
        StepParams::Sweep(_) | StepParams::Fit(_) => Err(absent(ctx)),
    }
}

fn told<E: StepError>(result: Result<Summary, E>) -> Result<Summary, Failure> {
    result.map_err(|error| failure_of(&error))
}

fn absent(ctx: &StepContext) -> Failure {
    Failure {
        class: cupola_specs::contract::ErrorClass::Bug,
        code: "step_absent".into(),
        message: format!("this worker has no code for {} steps", ctx.job().params.kind().as_str()),
        hint: String::new(),
    }
}
