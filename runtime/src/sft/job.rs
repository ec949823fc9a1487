//! The sft step: a base model and chats in, an assistant out.

use cupola_specs::artifact::Interval;
use cupola_specs::job::{SftParams, TrainOn};
use serde_json::json;

use super::batch::plan_rows;
use super::objective::{SftObjective, num_trained};
use super::stage::{
    Chosen, StageResult, StageRules, item_schedule, prepare, save_beside, save_facts, stage_plan,
    stage_rates, training_record,
};
use super::{
    Chat, PassOrder, ScoreOptions, SequenceScore, SftError, encode_chats, packing_self_test, permutation,
    read_chats, score_sequences,
};
use crate::eval::ratio;
use crate::job::{StepContext, Summary};
use crate::model::Network;
use crate::seal;
use crate::tokenizer::{EncodedChat, Tokenizer};
use crate::train::{TrainOutcome, train};

/// Rates and batch of the stage.
const RULES: StageRules =
    StageRules { stage: "sft", lr: 1e-3, matrix_lr: 5e-3, global_tokens: SftParams::STEP_TOKENS };

/// Encoded chats on both sides.
struct SftData {
    train: Side,
    validation: Side,
}

/// Encoded chats with their names.
struct Side {
    chats: Vec<EncodedChat>,
    names: Vec<String>,
    too_long: usize,
}

/// Runs the step.
pub fn run(ctx: &StepContext, params: &SftParams) -> Result<Summary, SftError> {
    let folder = &ctx.input("model")?.path;
    let tokenizer = Tokenizer::load(folder)?;
    check_template(&params.template, tokenizer.chat().source())?;
    let data = read_data(ctx, params, &tokenizer)?;
    let mut net = Network::load_for(folder, ctx.tensor_device(), params.context_length)?;
    prepare(ctx, &mut net, params.lora.as_ref())?;
    let options = ScoreOptions { row_tokens: params.context_length as usize, precision: params.precision };
    packing_self_test(&net, &data.train.chats, options)?;
    let base_loss = validation_loss(ctx, &net, &data.validation.chats, options, "evaluate base")?;

    let lengths: Vec<usize> = data.train.chats.iter().map(|chat| chat.ids.len()).collect();
    let rows = plan_rows(&net, &lengths, options.row_tokens);
    let tokens: usize = lengths.iter().sum();
    let mut chosen = Chosen::new();
    let rates = stage_rates(&params.optimizer, &net, params.precision, RULES, &mut chosen);
    let row_tokens = tokens as f64 / rows.len() as f64;
    let schedule = item_schedule(&params.batch, rows.len(), row_tokens, params.epochs, RULES, &mut chosen)
        .eased(ctx.job().micro_batch_halvings)?
        .shared(ctx.place().world_size as u64);
    let percent = 100.0 * tokens as f64 / (rows.len() * options.row_tokens) as f64;
    let packed = format!("{} chats in {} rows ({percent:.1} % full)", lengths.len(), rows.len());
    ctx.events().log(format!("{packed}, {} steps of {} rows", schedule.steps(), schedule.step_items));
    let plan = stage_plan(&params.optimizer, &rates, schedule.steps(), params.checkpoint, RULES);
    let mut objective = SftObjective {
        net: &net,
        chats: &data.train.chats,
        names: &data.train.names,
        rows: &rows,
        order: PassOrder::new(ctx.seed("sft order"), rows.len()),
        schedule,
        precision: params.precision,
    };
    objective.self_test()?;
    net.drop_out_from(ctx.seed("lora dropout"));
    let outcome = train(ctx, &plan, &mut objective)?;

    let loss = validation_loss(ctx, &net, &data.validation.chats, options, "evaluate")?;
    let mut result = StageResult {
        chosen,
        tokens_read: (tokens as f64 * params.epochs) as u64,
        context_length: params.context_length,
        ..StageResult::default()
    };
    result.finals.insert("validation_assistant_loss".into(), loss);
    result.finals.insert("base_validation_assistant_loss".into(), base_loss);
    let too_long = data.train.too_long + data.validation.too_long;
    result.warnings.extend((too_long > 0).then(|| ("chat_too_long".to_owned(), too_long as u64)));
    net.save(ctx.staging(), &save_facts(&tokenizer))?;
    net.save_adapter(ctx.staging(), None)?;
    seal::write(ctx.staging(), &net, &tokenizer)?;
    save_beside(ctx, &tokenizer, &training_record("sft", &net, &outcome, result))?;
    ctx.events().metric("validation_assistant_loss", outcome.steps, loss.value);
    Ok(summary(&data, &outcome, [base_loss.value, loss.value]))
}

/// The step's facts: for the plans of later runs also the tokens of its data, and the share of them that carries loss.
fn summary(data: &SftData, outcome: &TrainOutcome, [base_loss, loss]: [f64; 2]) -> Summary {
    let tokens: usize = data.train.chats.iter().map(|chat| chat.ids.len()).sum();
    let trained: u64 = data.train.chats.iter().map(num_trained).sum();
    let facts = [
        ("chats", json!(data.train.chats.len())),
        ("validation_chats", json!(data.validation.chats.len())),
        ("dropped_too_long", json!(data.train.too_long + data.validation.too_long)),
        ("data_tokens", json!(tokens)),
        ("trained_share", json!(trained as f64 / tokens.max(1) as f64)),
        ("steps", json!(outcome.steps)),
        ("trained_tokens", json!(outcome.tokens)),
        ("validation_assistant_loss", json!(loss)),
        ("base_validation_assistant_loss", json!(base_loss)),
    ];
    facts.map(|(name, fact)| (name.to_owned(), fact)).into_iter().collect()
}

/// A template is known by the turns that it writes: a spec that names one and a tokenizer that carries another don't fit.
fn check_template(name: &str, source: &str) -> Result<(), SftError> {
    let is_chatml = source.contains("<|im_start|>") && source.contains("<|im_end|>");
    match (name, source.is_empty(), is_chatml) {
        ("chatml", false, true) => Ok(()),
        (_, true, _) => Err(SftError::Template { expected: name.to_owned(), got: "missing".into() }),
        (_, false, true) => Err(SftError::Template { expected: name.to_owned(), got: "\"chatml\"".into() }),
        (_, false, false) => {
            Err(SftError::Template { expected: name.to_owned(), got: "one of another form".into() })
        }
    }
}

/// Reads, splits and encodes the chats of every source.
fn read_data(ctx: &StepContext, params: &SftParams, tokenizer: &Tokenizer) -> Result<SftData, SftError> {
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for (index, part) in params.data_parts.iter().enumerate() {
        let role = format!("data.{index}");
        let chats = read_chats(ctx, &role, part)?;
        if part == "pairs" {
            train.extend(chats);
            validation.extend(read_chats(ctx, &role, "validation_pairs")?);
        } else {
            let (kept, held_out) = split(chats, params.validation, ctx.seed(&format!("sft split {index}")));
            train.extend(kept);
            validation.extend(held_out);
        }
    }
    let row_tokens = params.context_length as usize;
    let data = SftData {
        train: encode(ctx, tokenizer, &train, params.train_on, row_tokens, "training chats")?,
        // Held out is measured on what the assistant says, whatever is trained on.
        validation: encode(ctx, tokenizer, &validation, TrainOn::Assistant, row_tokens, "held-out chats")?,
    };
    Ok(data)
}

/// Splits chats into training and held-out ones by a seeded choice; at least one is held out.
fn split(chats: Vec<Chat>, share: f64, seed: u64) -> (Vec<Chat>, Vec<Chat>) {
    let held_out = ((chats.len() as f64 * share).round() as usize).max(1);
    let mut is_held_out = vec![false; chats.len()];
    for index in permutation(seed, 0, chats.len()).into_iter().take(held_out) {
        is_held_out[index] = true;
    }
    let mut sides = (Vec::new(), Vec::new());
    for (chat, out) in chats.into_iter().zip(is_held_out) {
        if out { sides.1.push(chat) } else { sides.0.push(chat) }
    }
    sides
}

fn encode(
    ctx: &StepContext,
    tokenizer: &Tokenizer,
    chats: &[Chat],
    train_on: TrainOn,
    row_tokens: usize,
    what: &'static str,
) -> Result<Side, SftError> {
    let encoded = encode_chats(tokenizer, chats, train_on, row_tokens)?;
    if encoded.too_long > 0 {
        let message = format!(
            "{} of {} {what} are longer than {row_tokens} tokens and were left out whole",
            encoded.too_long,
            chats.len()
        );
        ctx.events().warning("chat_too_long", message);
    }
    let silent = encoded.chats.iter().filter(|chat| num_trained(chat) == 0).count();
    if silent > 0 {
        let message = format!("{silent} {what} have no token that carries loss and were left out");
        ctx.events().warning("chat_without_loss", message);
    }
    let names = encoded.kept.iter().map(|&index| chats[index].name.clone());
    let (chats, names): (Vec<EncodedChat>, Vec<String>) =
        encoded.chats.into_iter().zip(names).filter(|(chat, _)| num_trained(chat) > 0).unzip();
    if chats.is_empty() {
        return Err(SftError::Empty { what, dropped: encoded.too_long, row_tokens });
    }
    Ok(Side { chats, names, too_long: encoded.too_long })
}

/// Nats a token over the assistant's tokens of held-out chats.
fn validation_loss(
    ctx: &StepContext,
    net: &Network,
    chats: &[EncodedChat],
    options: ScoreOptions,
    stage: &str,
) -> Result<Interval, SftError> {
    let scores: Vec<SequenceScore> = score_sequences(net, chats, options, &mut |done, total| {
        ctx.events().progress(done as f64, total as f64, "chats", stage);
        Ok::<(), SftError>(ctx.check_stop()?)
    })?;
    let parts: Vec<(f64, f64)> = scores.iter().map(|score| (-score.log_prob, score.tokens as f64)).collect();
    Ok(ratio(&parts).interval())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_keeps_every_chat_on_one_side() {
        let chats: Vec<Chat> = (0..20).map(|i| Chat::of_answer(&i.to_string(), "q", "a")).collect();
        let (train, held_out) = split(chats, 0.1, 4);
        assert_eq!((train.len(), held_out.len()), (18, 2));
        assert!(held_out.iter().all(|chat| !train.contains(chat)));
    }

    #[test]
    fn another_template_than_the_tokenizers_is_refused() {
        assert!(check_template("chatml", "<|im_start|>user … <|im_end|>").is_ok());
        assert!(check_template("chatml", "[INST] … [/INST]").is_err());
        assert!(check_template("chatml", "").unwrap_err().to_string().contains("missing"));
        assert!(check_template("llama3", "<|im_start|> … <|im_end|>").is_err());
    }
}
