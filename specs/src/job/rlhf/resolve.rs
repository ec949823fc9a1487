//! An RLHF job, resolved: which of its three steps run, and what they read.

use super::written::{LabelerWritten, RlhfJob, Stage};
use super::{Labeler, Method, OptimizeParams, PreferencesParams, RewardModelParams};
use crate::job::Precision;
use crate::job::lora::resolve::lora as resolve_lora;
use crate::job::pretrain::optimizer_resolve::{Stage as Defaults, optimizer};
use crate::job::pretrain::resolve::{batch, check_tuning_batch, checkpoint, row_length};
use crate::job::pretrain::written::ParallelWritten;
use crate::job::{LoraParams, OptimizerParams, Recompute, StepKind};
use crate::spec::decode::At;
use crate::spec::jobs::Resolver;
use crate::spec::tree::Spot;
use crate::spec::wanted::Wanted;
use crate::spec::{Code, RlhfBody};

/// Resolves an RLHF job.
pub(crate) fn rlhf(w: &RlhfJob, precision: Precision, resolver: &mut Resolver<'_, '_>) -> Option<RlhfBody> {
    let policy = resolver.artifact(&w.policy, Wanted::Model);
    let steps = Steps::of(w);
    let prompts = w.prompts.as_ref().map(|prompts| resolver.rows(prompts, "prompts", &["pairs"]));
    let given_preferences = w.preferences.as_ref().map(|given| resolver.artifact(given, Wanted::Preferences));
    let given_reward_model =
        w.reward_model.as_ref().map(|given| resolver.artifact(given, Wanted::RewardModel));
    let optimizer = optimizer(&w.optimizer, Defaults::Tuning, resolver);
    check_tuning_batch(&w.batch, resolver);
    let context_length = row_length(w.context.as_ref(), &w.policy, resolver);
    let lora = w.lora.as_ref().map(|lora| resolve_lora(&lora.value, &w.policy, resolver));
    steps.check(w, resolver)?;
    let (lora, adapter) = match lora {
        Some(lora) => lora.map(|(lora, adapter)| (Some(lora), adapter))?,
        None => (None, None),
    };
    let (prompts, prompts_part) = match prompts {
        Some(prompts) => prompts.map(|(input, part)| (Some(input), part))?,
        None => (None, String::new()),
    };
    let tuning = Tuning { optimizer: optimizer?, context_length: context_length?, lora, precision };
    Some(RlhfBody {
        policy: policy?,
        adapter,
        prompts,
        given_preferences: match given_preferences {
            Some(given) => Some(given?),
            None => None,
        },
        given_reward_model: match given_reward_model {
            Some(given) => Some(given?),
            None => None,
        },
        preferences: steps.preferences.then(|| preferences(w, prompts_part.clone(), precision)),
        reward_model: steps.reward_model.then(|| reward_model(w, tuning.clone())),
        optimize: steps.optimize.then(|| optimize(w, prompts_part, tuning)),
    })
}

/// What the steps that train share.
#[derive(Debug, Clone)]
struct Tuning {
    optimizer: OptimizerParams,
    context_length: u64,
    lora: Option<LoraParams>,
    precision: Precision,
}

/// The steps that run.
#[derive(Debug, Clone, Copy)]
struct Steps {
    preferences: bool,
    reward_model: bool,
    optimize: bool,
}

impl Steps {
    fn of(w: &RlhfJob) -> Self {
        Self {
            preferences: w.stage == Some(Stage::Preferences) || w.stage.is_none() && w.preferences.is_none(),
            reward_model: w.stage == Some(Stage::RewardModel)
                || w.stage.is_none() && w.reward_model.is_none(),
            optimize: matches!(w.stage, Some(Stage::Optimize) | None),
        }
    }

    /// Every input that a step reads is there, and none that no step reads.
    fn check(self, w: &RlhfJob, resolver: &mut Resolver<'_, '_>) -> Option<()> {
        let is_ppo = w.method.value == Method::Ppo;
        let by_reward_model = self.preferences && w.labeler.value.kind == Labeler::RewardModel;
        let reads_prompts = self.preferences || self.optimize && is_ppo;
        let reads_preferences = self.reward_model || self.optimize && !is_ppo;
        let reads_reward_model = self.optimize && is_ppo || by_reward_model;
        let before = resolver.session.error_count();
        let mut need = |field: &str, reads: bool, written: Option<Spot>, made: bool| match written {
            None if reads && !made => {
                resolver
                    .session
                    .error(Code::MissingField, w.policy.spot, format!("the field `{field}` is missing"))
                    .expecting(format!("`{field}`: this job runs {}", self.words(is_ppo)));
            }
            Some(spot) if !reads => {
                resolver
                    .session
                    .error(Code::Conflict, spot, format!("no step of this job reads `{field}`"))
                    .expecting(format!("no `{field}`: this job runs only {}", self.words(is_ppo)));
            }
            _ => {}
        };
        need("prompts", reads_prompts, w.prompts.as_ref().map(|prompts| prompts.spot), false);
        need(
            "preferences",
            reads_preferences,
            w.preferences.as_ref().map(|given| given.spot),
            self.preferences,
        );
        let made = self.reward_model && !by_reward_model;
        let is_spare = w.stage.is_none() && w.reward_model.is_some();
        need(
            "reward_model",
            reads_reward_model || is_spare,
            w.reward_model.as_ref().map(|given| given.spot),
            made,
        );
        let trains = self.reward_model || self.optimize;
        need("lora", trains, w.lora.as_ref().map(|lora| lora.spot), true);
        let recomputes = w.recompute.value != Recompute::None;
        need("recompute", trains, recomputes.then_some(w.recompute.spot), true);
        check_labeler(&w.labeler.value, resolver);
        if self.optimize && is_ppo {
            check_dropout(w, resolver);
        }
        self.check_ranks(&w.parallel, is_ppo, resolver);
        (resolver.session.error_count() == before).then_some(())
    }

    /// Several ranks only where each step that trains can share its micro-batches out.
    fn check_ranks(self, parallel: &At<ParallelWritten>, is_ppo: bool, resolver: &mut Resolver<'_, '_>) {
        if parallel.value.data == 1 {
            return;
        }
        let (message, expected) = if self.optimize && is_ppo {
            (
                "ppo trains by one rank: it samples with the policy that it trains",
                "data: 1, or two jobs: `stage: reward_model` with ranks and `stage: optimize` without",
            )
        } else if !self.reward_model && !self.optimize {
            ("no step of this job trains", "no `parallel`: this job runs only preferences")
        } else {
            return;
        };
        resolver.session.error(Code::Conflict, parallel.spot, message).expecting(expected);
    }

    /// The steps in words.
    fn words(self, is_ppo: bool) -> String {
        let steps = [
            (self.preferences, StepKind::Preferences.as_str()),
            (self.reward_model, StepKind::RewardModel.as_str()),
            (self.optimize, if is_ppo { "optimize with ppo" } else { "optimize" }),
        ];
        steps.iter().filter(|(runs, _)| *runs).map(|(_, word)| *word).collect::<Vec<_>>().join(", ")
    }
}

/// PPO's ratios are those of the network that answered, and one that drops out is another in each pass.
fn check_dropout(w: &RlhfJob, resolver: &mut Resolver<'_, '_>) {
    if let Some(lora) = w.lora.as_ref().filter(|lora| lora.value.dropout > 0.0) {
        resolver
            .session
            .error(
                Code::Conflict,
                lora.spot,
                "ppo takes no `lora.dropout`: its ratios are those of the network that answered",
            )
            .expecting("dropout: 0, or another method");
    }
}

/// A labeler that asks a judge names one that there is.
fn check_labeler(labeler: &LabelerWritten, resolver: &mut Resolver<'_, '_>) {
    if let (Some(judge), Labeler::Reference | Labeler::RewardModel) = (&labeler.judge, labeler.kind) {
        resolver
            .session
            .error(Code::Conflict, judge.spot, "this labeler asks no judge")
            .expecting("kind: judge, or no `judge`");
    }
    if let Some(judge) = labeler.judge.as_ref().filter(|_| labeler.kind == Labeler::Judge) {
        resolver.check_judge(judge, &[]);
    }
}

/// The step `preferences`.
fn preferences(w: &RlhfJob, prompts_part: String, precision: Precision) -> PreferencesParams {
    PreferencesParams {
        prompts_part,
        pairs: w.pairs,
        validation: w.validation.0,
        labeler: w.labeler.value.kind,
        samples: w.samples,
        temperature: w.temperature,
        max_new_tokens: w.max_new_tokens,
        min_margin: w.min_margin,
        precision,
    }
}

/// The step `reward_model`.
fn reward_model(w: &RlhfJob, tuning: Tuning) -> RewardModelParams {
    let Tuning { optimizer, context_length, lora, precision } = tuning;
    RewardModelParams {
        epochs: w.reward_epochs,
        optimizer,
        batch: batch(&w.batch),
        context_length,
        lora,
        precision,
        checkpoint: checkpoint(&w.checkpoint),
    }
}

/// The step `optimize`.
fn optimize(w: &RlhfJob, prompts_part: String, tuning: Tuning) -> OptimizeParams {
    let Tuning { optimizer, context_length, lora, precision } = tuning;
    let is_ppo = w.method.value == Method::Ppo;
    let beta = match w.method.value {
        Method::Ppo => 0.05,
        Method::Dpo if w.length_normalized => 2.0,
        _ => 0.1,
    };
    OptimizeParams {
        method: w.method.value,
        beta: w.beta.unwrap_or(beta),
        length_normalized: w.length_normalized,
        epochs: w.epochs.unwrap_or(if is_ppo { 2.0 } else { 1.0 }),
        prompts_part: if is_ppo { prompts_part } else { String::new() },
        rollouts: w.rollouts,
        rollout_batch: w.rollout_batch,
        temperature: w.temperature,
        max_new_tokens: w.max_new_tokens,
        clip: w.clip,
        optimizer,
        batch: batch(&w.batch),
        context_length,
        lora,
        precision,
        checkpoint: checkpoint(&w.checkpoint),
    }
}
