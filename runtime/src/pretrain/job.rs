//! The way of a pretrain step: resolve, forecast, self-test, train, measure, score the forecast, save.

use std::collections::BTreeMap;

use cupola_specs::artifact::{Forecast, ForecastScore, Interval, TrainingRecord};
use cupola_specs::job::{Export, PretrainParams};
use serde_json::json;

use super::resolve::{self, Law};
use super::{PretrainError, samples, self_test};
use crate::job::{StepContext, Summary, write_durably};
use crate::model::{Network, SaveFacts};
use crate::scaling::forecast;
use crate::tokenizer::Tokenizer;
use crate::train::{
    FINAL_TOKENS, LanguageRun, Recipe, SetbackLimits, TokenData, TrainError, TrainOutcome, TrainPlan,
    Validation, train, validate,
};

/// Trains a base model.
pub fn run(ctx: &StepContext, params: &PretrainParams) -> Result<Summary, PretrainError> {
    let tokenizer = Tokenizer::load(&ctx.input("tokenizer")?.path)?;
    let (data, held_out) = LanguageRun::open(&ctx.input("tokens")?.path)?;
    check_tokenizer(ctx, &data, &tokenizer)?;
    let law = resolve::read_law(ctx)?;
    let shape = resolve::shape(params, law.as_ref())?;
    let recipe = Recipe {
        shape: &shape,
        tokens: resolve::tokens(params, &shape, law.as_ref())?,
        optimizer: &params.optimizer,
        batch: params.batch,
        phases: &params.phases,
        context_length: params.context_length,
        precision: params.precision,
        micro_batch_halvings: ctx.job().micro_batch_halvings,
        ranks: ctx.place().world_size as u64,
        init_seed: ctx.seed("init"),
        order_seed: ctx.seed("order"),
    };
    let every = params.evaluate;
    let mut run = LanguageRun::new(&recipe, &data, ctx.tensor_device())?;
    // Where the best state becomes the model, the last one is a candidate too.
    let last = (params.export == Export::Best).then_some(run.steps);
    announce(ctx, &run);
    let written = write_forecast(ctx, params, &run, law.as_ref())?;
    self_test::run(ctx, &run, params.precision)?;
    let (on, words) = (&held_out, &tokenizer);
    run.evaluate_with(Box::new(move |network, done, curves| {
        if every.every_steps == 0 || (done % every.every_steps != 0 && last != Some(done)) {
            return Ok(());
        }
        let (length, precision) = (params.context_length, params.precision);
        let measured = validate(network, on, length, precision, every.max_tokens, &|| ctx.check_stop())?;
        for (name, value) in [("validation_loss", measured.loss), ("validation_bpb", measured.bpb)] {
            ctx.events().metric(name, done, value);
            curves.push(name, done, value);
        }
        samples::write(ctx, network, words, (done, every.samples)).map_err(|error| TrainError::stage(&error))
    }));
    let plan = TrainPlan {
        steps: run.steps,
        optimizer: run.settings.clone(),
        schedule: run.schedule.clone(),
        grad_clip: params.optimizer.grad_clip,
        setbacks: SetbackLimits::of(&params.optimizer),
        checkpoint: params.checkpoint,
        export: (params.export == Export::Best).then_some(params.best_metric),
        stage: "train".into(),
    };
    let outcome = train(ctx, &plan, &mut run)?;
    if outcome.exported_step < outcome.steps {
        let step = outcome.exported_step;
        ctx.events()
            .log(format!("the model is the state after step {step} of {}, the best one", outcome.steps));
    }
    ctx.events().progress(1.0, 1.0, "validation", "evaluate");
    let (length, precision) = (params.context_length, params.precision);
    let measured = validate(&run.network, &held_out, length, precision, FINAL_TOKENS, &|| ctx.check_stop())?;
    save(ctx, &tokenizer, &run, &record(ctx, &run, outcome, &measured, written))
}

/// Saves the model folder and says what is in it.
fn save(
    ctx: &StepContext,
    tokenizer: &Tokenizer,
    run: &LanguageRun,
    record: &TrainingRecord,
) -> Result<Summary, PretrainError> {
    let facts = SaveFacts {
        bos_token_id: tokenizer.bos_id(),
        stop_token_ids: tokenizer.chat().stop_ids(),
        pad_token_id: tokenizer.pad_id().unwrap_or(tokenizer.bos_id()),
    };
    run.network.save(ctx.staging(), &facts)?;
    tokenizer.copy_files(ctx.staging())?;
    let path = ctx.staging().join("training.json");
    let text = serde_json::to_vec_pretty(record)
        .map_err(|error| PretrainError::Format { path: path.clone(), message: error.to_string() })?;
    write_durably(&path, &text)?;
    let mut summary = Summary::new();
    for (name, interval) in &record.finals {
        summary.insert(name.clone(), json!(interval.value));
    }
    summary.insert("total_params".into(), json!(record.total_params));
    summary.insert("tokens".into(), json!(record.tokens));
    Ok(summary)
}

fn check_tokenizer(ctx: &StepContext, data: &TokenData, tokenizer: &Tokenizer) -> Result<(), PretrainError> {
    let fingerprint = &ctx.input("tokenizer")?.fingerprint;
    if *fingerprint != data.index.tokenizer_fingerprint
        || data.index.vocab_size != tokenizer.vocab_size() as u64
    {
        return Err(PretrainError::Mismatch(format!(
            "the tokens were made by tokenizer {} of {} tokens, and the input is tokenizer {fingerprint} of {} tokens",
            data.index.tokenizer_fingerprint,
            data.index.vocab_size,
            tokenizer.vocab_size()
        )));
    }
    Ok(())
}

fn announce(ctx: &StepContext, run: &LanguageRun) {
    let network: &Network = &run.network;
    ctx.events().log(format!(
        "{} parameters ({} without embeddings), {} tokens in {} steps of {} rows, {:.3e} FLOPs",
        network.total_params(),
        network.num_params(),
        run.tokens,
        run.steps,
        run.step_rows(),
        run.flops
    ));
    for choice in &run.chosen {
        ctx.events().log(format!("{} = {} by rule: {}", choice.name, choice.value, choice.rule));
    }
    for (domain, epochs) in run.epochs.iter().filter(|(_, epochs)| **epochs > 1.0) {
        ctx.events().warning(
            "repeated_data",
            format!("domain {domain} is read {epochs:.1} times; the law speaks of fresh tokens"),
        );
    }
}

/// Writes the forecast down before the run, in the log and thereby in the event stream.
fn write_forecast(
    ctx: &StepContext,
    params: &PretrainParams,
    run: &LanguageRun,
    law: Option<&Law>,
) -> Result<Option<Forecast>, PretrainError> {
    if !params.forecast {
        return Ok(None);
    }
    let law = law.ok_or_else(|| {
        PretrainError::Mismatch("a forecast is asked for, and the step has no input `law`".into())
    })?;
    let size = run.network.num_params() as f64;
    let written = forecast(&law.file, &law.fingerprint, run.network.shape().family, size, run.tokens as f64)?;
    ctx.events().log(format!(
        "forecast: validation loss {:.4} nats a token, 95 % between {:.4} and {:.4}",
        written.loss.value, written.loss.low, written.loss.high
    ));
    Ok(Some(written))
}

fn record(
    ctx: &StepContext,
    run: &LanguageRun,
    outcome: TrainOutcome,
    measured: &Validation,
    written: Option<Forecast>,
) -> TrainingRecord {
    let spread =
        |value: f64, stderr: f64| Interval { value, low: value - 1.96 * stderr, high: value + 1.96 * stderr };
    let mut finals = BTreeMap::from([
        ("validation_loss".to_owned(), spread(measured.loss, measured.stderr)),
        ("validation_bpb".to_owned(), spread(measured.bpb, measured.stderr * measured.bpb / measured.loss)),
    ]);
    for (domain, bpb) in &measured.bpb_by_domain {
        finals.insert(format!("validation_bpb.{domain}"), Interval { value: *bpb, low: *bpb, high: *bpb });
    }
    let forecast = written.map(|forecast| {
        let expected = forecast.loss;
        let relative_error = (measured.loss - expected.value) / expected.value;
        let within_interval = (expected.low..=expected.high).contains(&measured.loss);
        ctx.events().log(format!(
            "the forecast was off by {:+.2} %; its interval {} the result",
            100.0 * relative_error,
            if within_interval { "holds" } else { "misses" }
        ));
        ForecastScore { forecast, actual: measured.loss, relative_error, within_interval }
    });
    let mut curves = outcome.curves;
    curves.push("validation_loss", outcome.steps, measured.loss);
    curves.push("validation_bpb", outcome.steps, measured.bpb);
    let mut warnings = outcome.warnings;
    let repeated = run.epochs.values().filter(|epochs| **epochs > 1.0).count() as u64;
    if repeated > 0 {
        warnings.insert("repeated_data".to_owned(), repeated);
    }
    TrainingRecord {
        stage: "pretrain".into(),
        total_params: run.network.total_params(),
        params: run.network.num_params(),
        steps: outcome.steps,
        tokens: outcome.tokens,
        flops: run.flops,
        data_cursor: outcome.data_cursor,
        left_out: outcome.left_out,
        bad_steps: outcome.bad_steps,
        exported_step: outcome.exported_step,
        chosen: run
            .chosen
            .iter()
            .map(|choice| (choice.name.to_owned(), (choice.rule.clone(), choice.value)))
            .collect(),
        curves: curves.0,
        finals,
        forecast,
        warnings,
    }
}
