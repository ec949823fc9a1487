//! The preferences step: a policy and prompts in, labelled pairs out.

use std::path::Path;

use cupola_specs::artifact::PreferencePair;
use cupola_specs::job::{AdapterParams, Labeler, PreferencesParams, TrainOn};
use serde_json::json;

use super::super::{
    Answer, Candidate, EncodedPrompt, PairCollector, Prompt, RewardModel, RlhfError, SampleOptions,
    encode_prompts, engine_for, read_prompts, rouge_l, sample_answers,
};
use crate::data::shard::write_jsonl_zst;
use crate::generate::self_test;
use crate::job::{JobError, StepContext, Summary, write_durably};
use crate::model::Network;
use crate::sft::{Chat, PackedBatch, permutation, to_floats};
use crate::tokenizer::{EncodedChat, Tokenizer};

/// Prompts of one round of sampling: enough to keep every slot of the engine busy.
const ROUND_PROMPTS: usize = 128;

/// Who decides, with what it needs.
enum Judge {
    Reference,
    Reward(Box<RewardModel>),
}

/// Runs the step.
pub fn run(ctx: &StepContext, params: &PreferencesParams) -> Result<Summary, RlhfError> {
    let folder = &ctx.input("policy")?.path;
    let tokenizer = Tokenizer::load(folder)?;
    let judge = judge(ctx, params)?;
    let mut trained = Network::load(folder, ctx.tensor_device())?;
    if let Some(adapter) = ctx.optional_input("adapter") {
        trained.adapt_from(&adapter.path, &AdapterParams::default())?;
    }
    self_test(&trained, params.precision)?;
    let net = trained.frozen(params.precision)?;
    let prompts = read_prompts(ctx, "prompts", &params.prompts_part)?;
    if let (Judge::Reference, Some(prompt)) =
        (&judge, prompts.iter().find(|prompt| prompt.reference.is_empty()))
    {
        return Err(RlhfError::NoReference { name: prompt.name.clone() });
    }
    let options = SampleOptions {
        samples: params.samples,
        temperature: params.temperature,
        max_new_tokens: params.max_new_tokens as usize,
        precision: params.precision,
        seed: ctx.seed("preference answers"),
    };
    let context = net.shape().max_position_embeddings as usize;
    let (mut encoded, too_long) = encode_prompts(&tokenizer, &prompts, options.max_new_tokens, context)?;
    if too_long > 0 {
        let message =
            format!("{too_long} of {} prompts leave no room for an answer and were left out", prompts.len());
        ctx.events().warning("prompt_too_long", message);
    }
    let order = permutation(ctx.seed("preference prompts"), 0, encoded.len());
    encoded = order.into_iter().map(|index| encoded[index].clone()).collect();
    let pairs = collect(ctx, params, (&net, &tokenizer), &judge, (&prompts, &encoded), &options)?;
    if pairs.num_pairs() == 0 {
        let (prompts, ties) = (encoded.len() as u64, pairs.num_ties());
        return Err(RlhfError::NoPairs { prompts, ties, too_long, context });
    }
    write(ctx, pairs, params)
}

fn judge(ctx: &StepContext, params: &PreferencesParams) -> Result<Judge, RlhfError> {
    let unsupported = |got: &str| RlhfError::Unsupported {
        field: "labeler.kind",
        got: got.to_owned(),
        expected: "reference or reward_model",
    };
    match params.labeler {
        Labeler::Reference => Ok(Judge::Reference),
        Labeler::RewardModel => {
            let folder: &Path = &ctx.input("reward_model")?.path;
            Ok(Judge::Reward(Box::new(RewardModel::load(folder, ctx.tensor_device())?)))
        }
        Labeler::Judge => Err(unsupported("judge")),
        Labeler::Human => Err(unsupported("human")),
    }
}

/// Samples round after round until there are enough pairs or no prompt is left.
fn collect(
    ctx: &StepContext,
    params: &PreferencesParams,
    (net, tokenizer): (&Network, &Tokenizer),
    judge: &Judge,
    (prompts, encoded): (&[Prompt], &[EncodedPrompt]),
    options: &SampleOptions,
) -> Result<PairCollector, RlhfError> {
    let name = if matches!(judge, Judge::Reference) { "reference" } else { "reward_model" };
    let mut pairs = PairCollector::new(name, params.min_margin);
    let mut engine = engine_for(net, encoded, options)?;
    for round in encoded.chunks(ROUND_PROMPTS) {
        if pairs.num_pairs() >= params.pairs {
            break;
        }
        let before = pairs.num_pairs() as f64;
        let in_round = (round.len() as u64 * options.samples) as f64;
        let answers = sample_answers(ctx, &mut engine, tokenizer, round, options, &mut |done| {
            let done = before + round.len() as f64 * done as f64 / in_round;
            ctx.events().progress(done.min(params.pairs as f64), params.pairs as f64, "pairs", "sample");
        })?;
        for (prompt, answers) in round.iter().zip(answers) {
            if pairs.num_pairs() >= params.pairs {
                break;
            }
            let prompt = &prompts[prompt.index];
            let scores = scores(judge, tokenizer, prompt, &answers, params)?;
            let candidate = |(answer, score): (&Answer, f64)| Candidate {
                text: answer.text.clone(),
                num_tokens: answer.completion.ids.len(),
                truncated: answer.is_truncated(),
                score,
            };
            let candidates: Vec<Candidate> = answers.iter().zip(scores).map(candidate).collect();
            pairs.add(prompt, &candidates);
        }
        ctx.events().progress(pairs.num_pairs() as f64, params.pairs as f64, "pairs", "sample");
    }
    Ok(pairs)
}

fn scores(
    judge: &Judge,
    tokenizer: &Tokenizer,
    prompt: &Prompt,
    answers: &[Answer],
    params: &PreferencesParams,
) -> Result<Vec<f64>, RlhfError> {
    match judge {
        Judge::Reference => {
            Ok(answers.iter().map(|answer| rouge_l(&answer.text, &prompt.reference)).collect())
        }
        Judge::Reward(model) => {
            let _no_grad = tch::no_grad_guard();
            let mut chats: Vec<EncodedChat> = Vec::with_capacity(answers.len());
            for answer in answers {
                let chat = Chat::of_answer(&prompt.name, &prompt.text, &answer.text);
                chats.push(tokenizer.chat().encode_chat(
                    tokenizer,
                    &chat.messages,
                    TrainOn::LastAssistant,
                )?);
            }
            let sequences: Vec<&EncodedChat> = chats.iter().collect();
            let longest = chats.iter().map(|chat| chat.ids.len()).max().unwrap_or(1);
            let batch = PackedBatch::pack(model.net(), &sequences, longest)?;
            Ok(to_floats(&model.scores(&batch, params.precision))?.into_iter().map(f64::from).collect())
        }
    }
}

fn write(ctx: &StepContext, pairs: PairCollector, params: &PreferencesParams) -> Result<Summary, RlhfError> {
    let wanted = params.pairs;
    let got = pairs.num_pairs();
    if got < wanted {
        let message = format!("{got} pairs of {wanted}: no prompt is left");
        ctx.events().warning("fewer_pairs", message);
    }
    let (train, validation, statistics): (Vec<PreferencePair>, _, _) = pairs.finish(params.validation);
    write_jsonl_zst(&ctx.staging().join("pairs.jsonl.zst"), &train)?;
    write_jsonl_zst(&ctx.staging().join("validation.jsonl.zst"), &validation)?;
    let path = ctx.staging().join("statistics.json");
    let json = serde_json::to_vec_pretty(&statistics).map_err(|error| JobError::io(&path, error.into()))?;
    write_durably(&path, &json)?;
    let mut summary = Summary::new();
    summary.insert("prompts".into(), json!(statistics.prompts));
    summary.insert("pairs".into(), json!(statistics.pairs));
    summary.insert("validation_pairs".into(), json!(statistics.validation_pairs));
    summary.insert("ties".into(), json!(statistics.ties));
    summary.insert("truncated_answers".into(), json!(statistics.truncated_answers));
    summary.insert("mean_chosen_score".into(), json!(statistics.mean_chosen_score));
    summary.insert("mean_rejected_score".into(), json!(statistics.mean_rejected_score));
    Ok(summary)
}
