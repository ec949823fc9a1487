//! The way of a pretrain step: resolve, forecast, self-test, train, measure, score the forecast, save.

use std::collections::BTreeMap;

use cupola_specs::artifact::{Forecast, ForecastScore, Interval, TrainingRecord};
use cupola_specs::job::{Export, ModelShape, PretrainParams};
use serde_json::json;

use super::resolve::{Law, Resolved};
use super::{PretrainError, samples, self_test};
use crate::job::{StepContext, Summary, write_durably};
use crate::model::{Network, SaveFacts};
use crate::scaling::forecast;
use crate::seal;
use crate::tokenizer::Tokenizer;
use crate::train::{
    FINAL_TOKENS, LanguageRun, Recipe, RowShape, SetbackLimits, TokenData, TrainError, TrainOutcome,
    TrainPlan, Validation, train, validate,
};

/// Trains a base model.
pub fn run(ctx: &StepContext, params: &PretrainParams) -> Result<Summary, PretrainError> {
    let Resolved { tokenizer, data, held_out, law, shape, tokens } = Resolved::of(ctx, params)?;
    let recipe = recipe(ctx, params, &shape, tokens);
    let every = params.evaluate;
    let mut run = LanguageRun::new(&recipe, &data, ctx.tensor_device())?;
    run.network.set_recompute(ctx.job().recompute);
    // Where the best state becomes the model, the last one is a candidate too.
    let last = (params.export == Export::Best).then_some(run.steps);
    announce(ctx, &run);
    let written = write_forecast(ctx, params, &run, law.as_ref())?;
    self_test::run(ctx, &run, params.precision)?;
    let (on, words, row_shapes) = (&held_out, &tokenizer, run.row_shapes());
    run.evaluate_with(Box::new(move |network, done, curves| {
        if every.every_steps == 0 || (done % every.every_steps != 0 && last != Some(done)) {
            return Ok(());
        }
        let now = row_shapes.iter().find(|(end, _)| done <= *end).or(row_shapes.last());
        let (rows, precision) = (now.map_or_else(|| row_shape(params), |(_, rows)| *rows), params.precision);
        let measured = validate(network, on, rows, precision, every.max_tokens, &|| ctx.check_stop())?;
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
    run.settle(outcome.exported_step)?;
    ctx.events().progress(1.0, 1.0, "validation", "evaluate");
    let measured = measure(ctx, (&run, outcome.exported_step), &held_out, params)?;
    save(ctx, &tokenizer, &run, &record(ctx, &run, outcome, &measured, written))
}

/// What a run of `tokens` tokens is made of.
pub(super) fn recipe<'r>(
    ctx: &StepContext,
    params: &'r PretrainParams,
    shape: &'r ModelShape,
    tokens: u64,
) -> Recipe<'r> {
    Recipe {
        shape,
        tokens,
        optimizer: &params.optimizer,
        batch: params.batch,
        phases: &params.phases,
        rows: row_shape(params),
        extend: params.extend,
        max_epochs: params.max_epochs,
        precision: params.precision,
        micro_batch_halvings: ctx.job().micro_batch_halvings,
        ranks: ctx.place().world_size as u64,
        init_seed: ctx.seed("init"),
        order_seed: ctx.seed("order"),
    }
}

/// What the rows of a run are like at its beginning.
fn row_shape(params: &PretrainParams) -> RowShape {
    let PretrainParams { context_length, packing, document_mask, .. } = *params;
    RowShape { context_length, packing, document_mask }
}

/// Measures weights that have seen some steps at each row length of these.
fn measure(
    ctx: &StepContext,
    (run, steps): (&LanguageRun, u64),
    held_out: &TokenData,
    params: &PretrainParams,
) -> Result<Vec<(u64, Validation)>, PretrainError> {
    let (mut measured, mut begin) = (Vec::new(), 0);
    for (end, rows) in run.row_shapes() {
        if begin < steps || begin == 0 {
            let check = || ctx.check_stop();
            let one = validate(&run.network, held_out, rows, params.precision, FINAL_TOKENS, &check)?;
            measured.push((rows.context_length, one));
        }
        begin = end;
    }
    Ok(measured)
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
    seal::write(ctx.staging(), &run.network, tokenizer)?;
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
    for (end, rows) in run.row_shapes() {
        ctx.events().log(format!("rows of {} tokens up to step {end}", rows.context_length));
    }
    for (domain, read) in &run.domains {
        if read.padding > 0.0 {
            let share = 100.0 * read.padding;
            ctx.events().log(format!("domain {domain}: {share:.2} % of its rows is padding, without loss"));
        }
        if read.epochs > 1.0 {
            let message =
                format!("domain {domain} is read {:.1} times; the law speaks of fresh tokens", read.epochs);
            ctx.events().warning("repeated_data", message);
        }
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

/// The last numbers: those of the last rows by plain names, and where the run had rows of several lengths, those of each with it.
fn finals(measured: &[(u64, Validation)]) -> BTreeMap<String, Interval> {
    let spread =
        |value: f64, stderr: f64| Interval { value, low: value - 1.96 * stderr, high: value + 1.96 * stderr };
    let mut finals = BTreeMap::new();
    let mut add = |one: &Validation, suffix: &str| {
        finals.insert(format!("validation_loss{suffix}"), spread(one.loss, one.stderr));
        finals.insert(format!("validation_bpb{suffix}"), spread(one.bpb, one.stderr * one.bpb / one.loss));
    };
    for (length, one) in measured.iter().filter(|_| measured.len() > 1) {
        add(one, &format!(".at_{length}"));
    }
    if let Some((_, one)) = measured.last() {
        add(one, "");
        for (domain, bpb) in &one.bpb_by_domain {
            let exact = Interval { value: *bpb, low: *bpb, high: *bpb };
            finals.insert(format!("validation_bpb.{domain}"), exact);
        }
    }
    finals
}

fn record(
    ctx: &StepContext,
    run: &LanguageRun,
    outcome: TrainOutcome,
    measured: &[(u64, Validation)],
    written: Option<Forecast>,
) -> TrainingRecord {
    let finals = finals(measured);
    let last = |value: fn(&Validation) -> f64| measured.last().map_or(f64::NAN, |(_, one)| value(one));
    // A law speaks of rows as long as those of its sweeps.
    let actual = measured.first().map_or(f64::NAN, |(_, one)| one.loss);
    let forecast = written.map(|forecast| {
        let expected = forecast.loss;
        let relative_error = (actual - expected.value) / expected.value;
        let within_interval = (expected.low..=expected.high).contains(&actual);
        ctx.events().log(format!(
            "the forecast was off by {:+.2} %; its interval {} the result",
            100.0 * relative_error,
            if within_interval { "holds" } else { "misses" }
        ));
        ForecastScore { forecast, actual, relative_error, within_interval }
    });
    let mut curves = outcome.curves;
    curves.push("validation_loss", outcome.steps, last(|one| one.loss));
    curves.push("validation_bpb", outcome.steps, last(|one| one.bpb));
    let mut warnings = outcome.warnings;
    let repeated = run.domains.values().filter(|read| read.epochs > 1.0).count() as u64;
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
        phases: run.phases.clone(),
        domains: run.domains.clone(),
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
