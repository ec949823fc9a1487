//! The optimize step: a policy in, an aligned policy out, by DPO, IPO or PPO.

use std::collections::BTreeMap;

use cupola_specs::artifact::Interval;
use cupola_specs::job::{Method, OptimizeParams};
use serde_json::json;

use super::super::held_out::{first_loss_self_test, measure_held_out};
use super::super::pair_objective::{PairLearner, PairObjective, ReferenceLogProbs};
use super::super::pairs::EncodedPair;
use super::super::{RlhfError, ppo, read_pair_data};
use crate::job::{StepContext, Summary};
use crate::model::Network;
use crate::sft::{
    Chosen, PassOrder, ScoreOptions, SequenceScore, StageResult, StageRules, item_schedule, save_beside,
    save_facts, score_sequences, stage_plan, stage_rates, training_record,
};
use crate::tokenizer::{EncodedChat, Tokenizer};
use crate::train::train;

/// Rates and batch of the direct methods.
const RULES: StageRules = StageRules { stage: "dpo", lr: 1e-4, matrix_lr: 1e-3, global_tokens: 8192 };

/// Runs the step.
pub fn run(ctx: &StepContext, params: &OptimizeParams) -> Result<Summary, RlhfError> {
    let unsupported = |got: &str| RlhfError::Unsupported {
        field: "method",
        got: got.to_owned(),
        expected: "dpo, ipo or ppo",
    };
    match params.method {
        Method::Dpo => direct(ctx, params, false),
        Method::Ipo => direct(ctx, params, true),
        Method::Ppo => ppo::run(ctx, params),
        Method::Kto => Err(unsupported("kto")),
        Method::Grpo => Err(unsupported("grpo")),
        Method::BestOfN => Err(unsupported("best_of_n")),
        Method::Direct => Err(unsupported("direct")),
    }
}

fn direct(ctx: &StepContext, params: &OptimizeParams, identity: bool) -> Result<Summary, RlhfError> {
    let folder = &ctx.input("policy")?.path;
    let tokenizer = Tokenizer::load(folder)?;
    let row_tokens = params.context_length as usize;
    let rules = StageRules { stage: if identity { "ipo" } else { "dpo" }, ..RULES };
    let data = read_pair_data(ctx, &tokenizer, row_tokens)?;
    let net = Network::load_for(folder, ctx.tensor_device(), params.context_length)?;
    let options = ScoreOptions { row_tokens, precision: params.precision };
    let reference = reference_log_probs(ctx, &net, &data.train, options)?;
    let held_out_reference = reference_log_probs(ctx, &net, &data.validation, options)?;
    let learner = |reference| PairLearner::Policy { net: &net, reference, beta: params.beta, identity };
    let expected = if identity { (2.0 * params.beta).recip().powi(2) } else { std::f64::consts::LN_2 };
    let check = ("KL(policy, reference) is 0 at step 0", expected);
    first_loss_self_test(&learner(&reference), &data.train, row_tokens, params.precision, check)?;

    let mut chosen = Chosen::new();
    let rates = stage_rates(&params.optimizer, &net, params.precision, rules, &mut chosen);
    let pair_tokens = data.tokens as f64 / data.train.len() as f64;
    let schedule =
        item_schedule(&params.batch, data.train.len(), pair_tokens, params.epochs, rules, &mut chosen);
    let plan = stage_plan(&params.optimizer, &rates, schedule.steps(), params.checkpoint, rules);
    let mut objective = PairObjective {
        learner: learner(&reference),
        pairs: &data.train,
        order: PassOrder::new(ctx.seed("dpo order"), data.train.len()),
        schedule,
        row_tokens,
        precision: params.precision,
    };
    let outcome = train(ctx, &plan, &mut objective)?;

    let finals =
        measure_held_out(ctx, &learner(&held_out_reference), &data.validation, row_tokens, params.precision)?;
    let mut summary = summary_of(&finals);
    summary.insert("method".into(), json!(rules.stage));
    summary.insert("pairs".into(), json!(data.train.len()));
    summary.insert("steps".into(), json!(outcome.steps));
    for name in ["reward_margin", "accuracy", "kl"] {
        if let Some(value) = outcome.curves.last(name) {
            summary.insert(format!("last_{name}"), json!(value));
        }
    }
    let result = StageResult {
        chosen,
        finals,
        warnings: data.warnings,
        tokens_read: (data.tokens as f64 * params.epochs) as u64,
        context_length: params.context_length,
    };
    net.save(ctx.staging(), &save_facts(&tokenizer))?;
    save_beside(ctx, &tokenizer, &training_record(rules.stage, &net, &outcome, result))?;
    Ok(summary)
}

fn summary_of(finals: &BTreeMap<String, Interval>) -> Summary {
    finals.iter().map(|(name, interval)| (name.clone(), json!(interval.value))).collect()
}

/// Scores of both answers under the policy as it is before training: computed once, since the reference never moves.
fn reference_log_probs(
    ctx: &StepContext,
    net: &Network,
    pairs: &[EncodedPair],
    options: ScoreOptions,
) -> Result<Vec<ReferenceLogProbs>, RlhfError> {
    let sequences: Vec<EncodedChat> =
        pairs.iter().flat_map(|pair| [pair.chosen.clone(), pair.rejected.clone()]).collect();
    let scores: Vec<SequenceScore> = score_sequences(net, &sequences, options, &mut |done, total| {
        ctx.events().progress(done as f64, total as f64, "answers", "reference");
        Ok::<(), RlhfError>(ctx.check_stop()?)
    })?;
    let of_pair =
        |pair: &[SequenceScore]| ReferenceLogProbs { chosen: pair[0].log_prob, rejected: pair[1].log_prob };
    Ok(scores.chunks_exact(2).map(of_pair).collect())
}
