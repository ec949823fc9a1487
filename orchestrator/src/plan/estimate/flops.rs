//! Training compute of the steps whose size is known before anything runs.

use cupola_specs::job::{ModelParams, PretrainParams, StepParams, SweepParams, TokenBudget};

use crate::plan::{Input, Plan, Step};

/// FLOPs that training takes in each step, in the plan's order; none where the step trains nothing or its size is not known yet.
///
/// Evaluation on the way is not counted. A sweep's budgets count as they are written: the worker raises small ones and lowers those
/// that the corpus can't fill.
pub fn training_flops(plan: &Plan) -> Vec<Option<f64>> {
    plan.steps.iter().map(|planned| training_flops_of(plan, &planned.step)).collect()
}

/// The same for one step of the plan.
pub fn training_flops_of(plan: &Plan, step: &Step) -> Option<f64> {
    match &step.params {
        StepParams::Pretrain(params) => pretrain(params, vocab_size(plan, step)?),
        StepParams::Sweep(params) => Some(sweep(params, vocab_size(plan, step)?)),
        _ => None,
    }
}

fn pretrain(params: &PretrainParams, vocab_size: u64) -> Option<f64> {
    let ModelParams::Shape(shape) = &params.model else { return None };
    let tokens = match params.tokens {
        TokenBudget::Count { tokens } => tokens as f64,
        TokenBudget::PerParam { ratio } => ratio * shape.num_params() as f64,
        TokenBudget::FromLaw => return None,
    };
    let of_rows = |length| shape.flops_per_token(vocab_size, length, None);
    let short = of_rows(params.context_length);
    let (share, long) = match params.extend {
        Some(extend) => (extend.tokens, of_rows(extend.length)),
        None => (0.0, short),
    };
    Some(tokens * ((1.0 - share) * short + share * long))
}

fn sweep(params: &SweepParams, vocab_size: u64) -> f64 {
    let counts: f64 = params.tokens.iter().map(|tokens| *tokens as f64).sum();
    let ratios: f64 = params.tokens_per_param.iter().sum();
    let tokens = counts + ratios * params.shape.num_params() as f64;
    let per_token = params.shape.flops_per_token(vocab_size, params.context_length, None);
    tokens * params.lr.len() as f64 * per_token
}

/// The least disk that a pretraining takes, bytes: its weights, and as many states as are kept, one more while it is written. None where its
/// size is not known yet.
pub(super) fn floor_disk_bytes(plan: &Plan, step: &Step) -> Option<u64> {
    let StepParams::Pretrain(params) = &step.params else { return None };
    let ModelParams::Shape(shape) = &params.model else { return None };
    let total = shape.total_params(vocab_size(plan, step)?);
    let states = if params.checkpoint.every_secs > 0.0 || params.checkpoint.every_steps > 0 {
        params.checkpoint.keep + params.checkpoint.keep_best.map_or(0, |best| best.count) + 1
    } else {
        0
    };
    Some((4 + 8 * states) * total)
}

/// Size of the vocabulary that a step's tokens are written in, where a step of the plan makes it.
pub(super) fn vocab_size(plan: &Plan, step: &Step) -> Option<u64> {
    match &made_by(plan, made_by(plan, step, "tokens")?, "tokenizer")?.params {
        StepParams::Tokenizer(params) => Some(params.vocab_size),
        _ => None,
    }
}

fn made_by<'p>(plan: &'p Plan, step: &Step, role: &str) -> Option<&'p Step> {
    match step.inputs.get(role)? {
        Input::Step(name) => plan.step(name).map(|planned| &planned.step),
        Input::Folder(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::quickstart::World;

    #[test]
    fn compute_is_told_where_the_size_is_and_nowhere_else() {
        let world = World::new();
        let of = |plan: &Plan, name: &str| training_flops_of(plan, &plan.step(name).unwrap().step);
        let plan = world.plan(&[]);
        let base = plan.step("base").unwrap().step.clone();
        let StepParams::Pretrain(mut params) = base.params.clone() else { panic!("{base:?}") };
        let TokenBudget::Count { tokens } = params.tokens else { panic!("{params:?}") };
        let ModelParams::Shape(shape) = params.model.clone() else { panic!("{params:?}") };
        let per_token = shape.flops_per_token(4096, params.context_length, None);
        assert_eq!(of(&plan, "base").unwrap() as u64, (tokens as f64 * per_token) as u64);
        params.tokens = TokenBudget::FromLaw;
        assert_eq!(pretrain(&params, 4096), None, "how many tokens is not known yet");
        assert_eq!(of(&plan, "corpus"), None);
        let one = of(&plan, "law/sweep[transformer,1]").unwrap();
        let two = of(&plan, "law/sweep[transformer,2]").unwrap();
        assert!(one > 1e9 && two > one, "{one:e} {two:e}");
        assert_eq!(training_flops(&plan).len(), plan.steps.len());
    }

    #[test]
    fn a_sweep_counts_each_budget_at_each_rate() {
        let world = World::new();
        let plan = world.plan(&[]);
        let step = &plan.step("law/sweep[transformer,1]").unwrap().step;
        let StepParams::Sweep(mut params) = step.params.clone() else { panic!("{step:?}") };
        let per_token = params.shape.flops_per_token(4096, params.context_length, None);
        (params.tokens, params.tokens_per_param, params.lr) = (vec![1_000, 2_000], vec![], vec![0.5, 1.0]);
        assert_eq!(sweep(&params, 4096) as u64, (6_000.0 * per_token) as u64);
        (params.tokens, params.tokens_per_param) = (vec![], vec![20.0]);
        assert_eq!(sweep(&params, 4096) as u64, (40.0 * params.shape.num_params() as f64 * per_token) as u64);
    }
}
