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
        StepParams::Sweep(params) => told(crate::scaling::sweep_job::run(ctx, params)),
        StepParams::Fit(params) => told(crate::scaling::fit_job::run(ctx, params)),
    }
}

fn told<E: StepError>(result: Result<Summary, E>) -> Result<Summary, Failure> {
    result.map_err(|error| failure_of(&error))
}
