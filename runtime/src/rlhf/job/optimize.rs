//! The optimize step: a policy in, an aligned policy out, by DPO, IPO or PPO.

use std::collections::BTreeMap;

use cupola_specs::artifact::Interval;
use cupola_specs::job::{Method, OptimizeParams};
use serde_json::json;

use super::super::pair_objective::{PairLearner, ReferenceLogProbs};
use super::super::pair_training::PairTraining;
use super::super::pairs::EncodedPair;
use super::super::{RlhfError, ppo, read_pair_data};
use crate::job::{StepContext, Summary};
use crate::model::Network;
use crate::seal;
use crate::sft::{
    ScoreOptions, SequenceScore, StageRules, prepare, save_beside, save_facts, score_sequences,
    training_record,
};
use crate::tokenizer::{EncodedChat, Tokenizer};

/// Rates and batch of the direct methods.
const RULES: StageRules =
    StageRules { stage: "dpo", lr: 1e-4, matrix_lr: 1e-3, global_tokens: OptimizeParams::STEP_TOKENS };

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
    let mut net = Network::load_for(folder, ctx.tensor_device(), params.context_length)?;
    prepare(ctx, &mut net, params.lora.as_ref())?;
    let options = ScoreOptions { row_tokens, precision: params.precision };
    let reference = reference_log_probs(ctx, &net, &data.train, options)?;
    let held_out_reference = reference_log_probs(ctx, &net, &data.validation, options)?;
    let learner = |reference| PairLearner::Policy {
        net: &net,
        reference,
        beta: params.beta,
        identity,
        length_normalized: params.length_normalized,
    };
    let expected = if identity { (2.0 * params.beta).recip().powi(2) } else { std::f64::consts::LN_2 };
    let num_pairs = data.train.len();
    let training = PairTraining {
        rules,
        optimizer: &params.optimizer,
        batch: &params.batch,
        checkpoint: params.checkpoint,
        epochs: params.epochs,
        context_length: params.context_length,
        precision: params.precision,
        order: "dpo order",
        first_loss: ("KL(policy, reference) is 0 at step 0", expected),
    };
    let facts = data.facts();
    let (outcome, result) = training.run(ctx, data, learner(&reference), learner(&held_out_reference))?;

    let mut summary = summary_of(&result.finals);
    summary.insert("method".into(), json!(rules.stage));
    summary.insert("pairs".into(), json!(num_pairs));
    summary.extend(facts);
    summary.insert("steps".into(), json!(outcome.steps));
    for name in ["reward_margin", "accuracy", "kl"] {
        if let Some(value) = outcome.curves.last(name) {
            summary.insert(format!("last_{name}"), json!(value));
        }
    }
    net.save(ctx.staging(), &save_facts(&tokenizer))?;
    net.save_adapter(ctx.staging(), None)?;
    seal::write(ctx.staging(), &net, &tokenizer)?;
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
