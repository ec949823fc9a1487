//! PPO: the policy answers, the reward model scores, clipped updates follow.
//!
//! Source: Schulman et al. (2017, arXiv:1707.06347), with the per-token KL penalty of Ouyang et al. (2022, arXiv:2203.02155). The critic is one row
//! of weights on the policy's hidden states. One optimiser step is one minibatch of a rollout; a rollout's answers are sampled at temperature T
//! and its ratios are those of temperature 1.

use cupola_specs::artifact::Interval;
use cupola_specs::job::{OptimizeParams, Precision};
use serde_json::json;
use tch::{Kind, Tensor};

use super::loss::{clipped_value_loss, ppo_surrogate};
use super::rollout::{
    Episode, Rollout, RolloutMaker, column, drop_rollouts, load_rollout, save_rollout, token_values,
};
use super::{EncodedPrompt, RewardModel, RlhfError, SampleOptions, encode_prompts, read_prompts};
use crate::generate::self_test;
use crate::job::{StepContext, Summary};
use crate::model::{Network, ParamGroup, Parameter};
use crate::seal;
use crate::sft::{
    Chosen, ItemSchedule, PackedBatch, PassOrder, ScoreOptions, SftError, StageResult, StageRules,
    gather_log_probs, item_schedule, packing_self_test, prepare, save_beside, save_facts, stage_plan,
    stage_rates, training_record,
};
use crate::tokenizer::{EncodedChat, Tokenizer};
use crate::train::{
    Curves, Objective, StepLoss, TrainError, TrainOutcome, accumulation_self_test, step_gradient, train,
};

/// Rates and batch of the stage.
const RULES: StageRules =
    StageRules { stage: "ppo", lr: 1e-4, matrix_lr: 5e-4, global_tokens: OptimizeParams::STEP_TOKENS };
/// Weight of the critic's loss.
const VALUE_COEF: f64 = 0.1;

/// The objective: optimiser steps go through the minibatches of one rollout after another.
struct PpoObjective<'a> {
    maker: RolloutMaker<'a>,
    net: &'a Network,
    /// The critic, `[1, C]`.
    value: Tensor,
    prompts: &'a [EncodedPrompt],
    prompt_order: PassOrder,
    rollout_batch: u64,
    /// Minibatches within a rollout.
    schedule: ItemSchedule,
    clip: f64,
    precision: Precision,
    order_seed: u64,
    rollout: Option<Rollout>,
}

/// Runs the step.
pub(super) fn run(ctx: &StepContext, params: &OptimizeParams) -> Result<Summary, RlhfError> {
    let folder = &ctx.input("policy")?.path;
    let tokenizer = Tokenizer::load(folder)?;
    let mut net = Network::load_for(folder, ctx.tensor_device(), params.context_length)?;
    prepare(ctx, &mut net, params.lora.as_ref())?;
    let reference = net.reference(params.precision)?;
    let reward_model = RewardModel::load(&ctx.input("reward_model")?.path, ctx.tensor_device())?;
    let prompts = read_prompts(ctx, "prompts", &params.prompts_part)?;
    let max_new_tokens = params.max_new_tokens as usize;
    let row_tokens = params.context_length as usize;
    let (encoded, too_long) = encode_prompts(&tokenizer, &prompts, max_new_tokens, row_tokens)?;
    if encoded.is_empty() {
        return Err(SftError::Empty { what: "prompts", dropped: too_long as usize, row_tokens }.into());
    }
    let mut chosen = Chosen::new();
    let rates = stage_rates(&params.optimizer, &net, params.precision, RULES, &mut chosen);
    let mean_prompt =
        encoded.iter().map(|prompt| prompt.ids.len()).sum::<usize>() as f64 / encoded.len() as f64;
    let episode_tokens = mean_prompt + 0.5 * max_new_tokens as f64;
    let rollout_batch = params.rollout_batch.max(1);
    let schedule = item_schedule(
        &params.batch,
        rollout_batch as usize,
        episode_tokens,
        params.epochs,
        RULES,
        &mut chosen,
    )
    .eased(ctx.job().micro_batch_halvings)?;
    let iterations = params.rollouts.div_ceil(rollout_batch).max(1);
    let plan = stage_plan(&params.optimizer, &rates, iterations * schedule.steps(), params.checkpoint, RULES);
    let channels = net.shape().hidden_size as i64;
    let maker = RolloutMaker {
        ctx,
        tokenizer: &tokenizer,
        reference: &reference,
        reward_model: &reward_model,
        prompts: &prompts,
        kl_coef: params.beta,
        options: sample_options(ctx, params),
    };
    let mut objective = PpoObjective {
        maker,
        net: &net,
        value: Tensor::zeros([1, channels], (Kind::Float, net.device())).set_requires_grad(true),
        prompts: &encoded,
        prompt_order: PassOrder::new(ctx.seed("ppo prompts"), encoded.len()),
        rollout_batch,
        schedule,
        clip: params.clip,
        precision: params.precision,
        order_seed: ctx.seed("ppo minibatches"),
        rollout: None,
    };
    self_test(&net, params.precision)?;
    objective.self_test()?;
    let outcome = train(ctx, &plan, &mut objective)?;
    let tokens_read = (iterations as f64 * rollout_batch as f64 * episode_tokens * params.epochs) as u64;
    let context_length = params.context_length;
    let result = StageResult { chosen, tokens_read, context_length, ..StageResult::default() };
    finish(ctx, (&net, &tokenizer), &outcome, result, iterations * rollout_batch)
}

fn sample_options(ctx: &StepContext, params: &OptimizeParams) -> SampleOptions {
    SampleOptions {
        samples: 1,
        temperature: params.temperature,
        max_new_tokens: params.max_new_tokens as usize,
        precision: params.precision,
        seed: ctx.seed("ppo answers"),
    }
}

/// Writes the policy with its record.
fn finish(
    ctx: &StepContext,
    (net, tokenizer): (&Network, &Tokenizer),
    outcome: &TrainOutcome,
    mut result: StageResult,
    rollouts: u64,
) -> Result<Summary, RlhfError> {
    let mut summary = Summary::new();
    summary.insert("method".into(), json!("ppo"));
    summary.insert("rollouts".into(), json!(rollouts));
    summary.insert("steps".into(), json!(outcome.steps));
    for (name, last) in [("reward", "last_reward"), ("kl", "last_kl")] {
        if let Some(value) = outcome.curves.last(name) {
            summary.insert(last.into(), json!(value));
            result.finals.insert(name.into(), Interval { value, low: value, high: value });
        }
    }
    net.save(ctx.staging(), &save_facts(tokenizer))?;
    net.save_adapter(ctx.staging(), None)?;
    seal::write(ctx.staging(), net, tokenizer)?;
    save_beside(ctx, tokenizer, &training_record("ppo", net, outcome, result))?;
    Ok(summary)
}

impl PpoObjective<'_> {
    /// Makes sure that the rollout of `iteration` is there.
    fn reach(&mut self, iteration: u64) -> Result<(), RlhfError> {
        if self.rollout.as_ref().is_some_and(|rollout| rollout.iteration == iteration) {
            return Ok(());
        }
        let folder = &self.maker.ctx.job().checkpoints;
        let rollout = if let Some(rollout) = load_rollout(folder, iteration)? {
            rollout
        } else {
            let start = iteration * self.rollout_batch;
            let items = self.prompt_order.items(start..start + self.rollout_batch);
            let chosen: Vec<EncodedPrompt> =
                items.into_iter().map(|item| self.prompts[item].clone()).collect();
            let rollout = self.maker.make(self.net, &self.value, iteration, &chosen)?;
            save_rollout(folder, &rollout)?;
            rollout
        };
        if iteration == 0 {
            check_first(&rollout, self.precision)?;
        }
        self.rollout = Some(rollout);
        Ok(())
    }

    /// What must hold of the first rollout, before the weights have moved: packed answers score as they do alone, and a minibatch's gradient
    /// does not depend on how it is cut.
    fn self_test(&mut self) -> Result<(), RlhfError> {
        self.reach(0)?;
        let episodes = self.rollout.iter().flat_map(|rollout| &rollout.episodes);
        let answers: Vec<EncodedChat> = episodes.map(Episode::sequence).collect();
        let row_tokens = answers.iter().map(|answer| answer.ids.len()).max().unwrap_or(1);
        packing_self_test(self.net, &answers, ScoreOptions { row_tokens, precision: self.precision })?;
        let whole = self.schedule;
        let result = accumulation_self_test(whole.first_items(), self.precision, &mut |micro_items| {
            self.schedule = whole.first(micro_items);
            step_gradient(self, 0)
        });
        self.schedule = whole;
        result?;
        Ok(())
    }

    fn minibatch(&mut self, step: u64, micro: u64) -> Result<StepLoss, RlhfError> {
        let (iteration, local) = (step / self.schedule.steps(), step % self.schedule.steps());
        self.reach(iteration)?;
        let Some(rollout) = &self.rollout else {
            return Err(RlhfError::State { stage: "ppo", message: "no rollout".into() });
        };
        let mut order = PassOrder::new(self.order_seed ^ iteration, rollout.episodes.len());
        let of_step: usize = order
            .items(self.schedule.step_range(local))
            .into_iter()
            .map(|item| rollout.episodes[item].log_probs.len())
            .sum();
        let items = order.items(self.schedule.micro_range(local, micro));
        let episodes: Vec<&Episode> = items.into_iter().map(|item| &rollout.episodes[item]).collect();
        let sequences: Vec<EncodedChat> = episodes.iter().map(|episode| episode.sequence()).collect();
        let sequences: Vec<&EncodedChat> = sequences.iter().collect();
        let longest = sequences.iter().map(|sequence| sequence.ids.len()).max().unwrap_or(1);
        let batch = PackedBatch::pack(self.net, &sequences, longest)?;
        let hidden = batch.hidden(self.net, self.precision).index_select(0, &batch.positions); // [N, C]
        let log_probs = gather_log_probs(&self.net.logits(&hidden), &batch.targets); // [N]
        let values = token_values(&hidden, &self.value); // [N]
        let old_log_probs = column(&batch, &episodes, |episode| &episode.log_probs)?;
        let advantages = column(&batch, &episodes, |episode| &episode.advantages)?;
        let old_values = column(&batch, &episodes, |episode| &episode.values)?;
        let returns = column(&batch, &episodes, |episode| &episode.returns)?;
        let policy_loss = ppo_surrogate(&log_probs, &old_log_probs, &advantages, self.clip).sum(Kind::Float);
        let value_loss = clipped_value_loss(&values, &old_values, &returns, self.clip).sum(Kind::Float);
        let share = batch.num_trained as f64 / of_step as f64;
        let metrics = vec![
            ("reward", rollout.mean_score * share),
            ("kl", rollout.mean_kl * share),
            ("value_loss", value_loss.double_value(&[]) / of_step as f64),
        ];
        let loss = (policy_loss + value_loss * VALUE_COEF) / of_step as f64;
        Ok(StepLoss { loss, auxiliary: None, tokens: batch.num_trained, metrics, data_secs: 0.0 })
    }
}

/// Before the first update the policy is its reference.
fn check_first(rollout: &Rollout, precision: Precision) -> Result<(), SftError> {
    let tokens: usize = rollout.episodes.iter().map(|episode| episode.log_probs.len()).sum();
    let per_token = rollout.mean_kl * rollout.episodes.len() as f64 / tokens.max(1) as f64;
    let tolerance = if precision == Precision::Bf16 { 0.02 } else { 1e-4 };
    if per_token.abs() <= tolerance {
        return Ok(());
    }
    Err(SftError::SelfTest {
        check: "KL(policy, reference) is 0 at step 0",
        expected: 0.0,
        got: per_token,
        tolerance,
    })
}

impl Objective for PpoObjective<'_> {
    fn parameters(&self) -> Vec<Parameter> {
        let policy = self.net.trainable().into_iter();
        let value = Parameter {
            name: "value.weight".into(),
            tensor: self.value.shallow_clone(),
            group: ParamGroup::Head,
        };
        policy.chain([value]).collect()
    }

    fn micro_batches(&self, step: u64) -> u64 {
        self.schedule.micro_batches(step % self.schedule.steps())
    }

    fn loss(&mut self, step: u64, micro: u64) -> Result<StepLoss, TrainError> {
        self.minibatch(step, micro).map_err(|error| TrainError::stage(&error))
    }

    fn row_names(&mut self, step: u64, micro: u64) -> Vec<String> {
        let (iteration, local) = (step / self.schedule.steps(), step % self.schedule.steps());
        let Some(rollout) = &self.rollout else { return Vec::new() };
        let mut order = PassOrder::new(self.order_seed ^ iteration, rollout.episodes.len());
        let name = |item: usize| {
            let chosen = self.prompt_order.item(iteration * self.rollout_batch + item as u64);
            let prompt = &self.maker.prompts[self.prompts[chosen].index];
            format!("rollout {iteration}, answer {item} to prompt {}", prompt.name)
        };
        order.items(self.schedule.micro_range(local, micro)).into_iter().map(name).collect()
    }

    fn after_step(&mut self, _done: u64, _curves: &mut Curves) -> Result<(), TrainError> {
        Ok(())
    }

    fn go_back(&mut self, done: u64) -> Result<(), TrainError> {
        // Rollouts of later iterations are of a policy that is given up.
        let later = done / self.schedule.steps() + 1;
        drop_rollouts(&self.maker.ctx.job().checkpoints, later).map_err(|error| TrainError::stage(&error))
    }

    fn data_cursor(&self, done: u64) -> u64 {
        done / self.schedule.steps() * self.rollout_batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_of_another_policy_than_the_reference_is_found() {
        let of = |mean_kl| {
            let episode = Episode {
                ids: vec![1, 2, 3],
                prompt_tokens: 1,
                log_probs: vec![-1.0, -2.0],
                values: vec![],
                advantages: vec![],
                returns: vec![],
            };
            let rollout = Rollout { iteration: 0, episodes: vec![episode], mean_score: 0.0, mean_kl };
            check_first(&rollout, Precision::Fp32)
        };
        of(1e-6).unwrap();
        for mean_kl in [0.01, -0.01, f64::NAN] {
            assert!(of(mean_kl).unwrap_err().to_string().contains("KL(policy, reference)"));
        }
    }
}
