//! The loop.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use cupola_specs::job::CheckpointParams;

use super::checkpoint::{Checkpoints, Progress};
use super::setback::{Setbacks, Trouble, Verdict};
use super::{Curves, LrSchedule, Objective, Optimizer, OptimizerSettings, SetbackLimits, TrainError};
use crate::job::{JobError, StepContext};
use crate::telemetry::StepMeter;

/// What the loop needs beside the objective.
#[derive(Debug, Clone)]
pub struct TrainPlan {
    /// Optimiser steps.
    pub steps: u64,
    /// Optimisers at their peaks.
    pub optimizer: OptimizerSettings,
    /// Rates by step.
    pub schedule: LrSchedule,
    /// Gradient norm above which gradients are scaled down; 0 is off.
    pub grad_clip: f64,
    /// What is done about bad steps.
    pub setbacks: SetbackLimits,
    /// When states are saved.
    pub checkpoint: CheckpointParams,
    /// What a progress event calls this (`train`).
    pub stage: String,
}

/// What a run leaves beside the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOutcome {
    /// Optimiser steps.
    pub steps: u64,
    /// Tokens that carried loss.
    pub tokens: u64,
    /// Rows of the data order read.
    pub data_cursor: u64,
    /// Curves by metric.
    pub curves: Curves,
    /// Optimiser steps that were left out.
    pub left_out: Vec<u64>,
    /// Warnings by code: how often.
    pub warnings: BTreeMap<String, u64>,
}

/// Trains an objective's weights, from the newest whole checkpoint on where there is one.
pub fn train(
    ctx: &StepContext,
    plan: &TrainPlan,
    objective: &mut dyn Objective,
) -> Result<TrainOutcome, TrainError> {
    train_in(ctx, &ctx.job().checkpoints, plan, objective)
}

/// [`train`] with a checkpoint folder of its own: a step with several runs gives each one.
pub fn train_in(
    ctx: &StepContext,
    folder: &Path,
    plan: &TrainPlan,
    objective: &mut dyn Objective,
) -> Result<TrainOutcome, TrainError> {
    let mut optimizer = Optimizer::new(objective.parameters(), plan.optimizer.clone());
    let checkpoints = Checkpoints::open(folder, plan.checkpoint.keep)?;
    let noted = Setbacks::read(folder)?;
    let restored = checkpoints.restore(&mut optimizer, &noted)?;
    if let Some(progress) = &restored {
        ctx.events().log(format!("resumes after optimiser step {} of {}", progress.steps, plan.steps));
    }
    let mut setbacks = noted.resume(restored.as_ref());
    let mut progress = restored.unwrap_or_else(Progress::start);
    let mut curves = progress.curves();
    let mut saved_at = Instant::now();
    let mut saved_steps = progress.steps;
    let mut meter = StepMeter::start(ctx, &series_of(ctx, folder), progress.steps);
    while progress.steps < plan.steps {
        let step = progress.steps;
        meter.begin_step();
        let state = (&mut optimizer, &mut setbacks, &mut meter);
        let tokens = one_step(ctx, (plan, folder), objective, state, (step, &mut curves))?;
        progress.steps = step + 1;
        progress.tokens += tokens;
        progress.data_cursor = objective.data_cursor(progress.steps);
        meter.end_step(step, tokens, objective, progress.steps == plan.steps);
        ctx.events().progress(progress.steps as f64, plan.steps as f64, "steps", &plan.stage);
        objective.after_step(progress.steps, &mut curves)?;
        let stop = ctx.stop_requested();
        if stop || is_due(&plan.checkpoint, progress.steps - saved_steps, saved_at.elapsed().as_secs_f64()) {
            let begin = Instant::now();
            progress.curves = curves.0.clone();
            progress.setbacks = setbacks.clone();
            ctx.events().checkpoint(checkpoints.save(&progress, &optimizer)?)?;
            meter.checkpoint_done(begin);
            (saved_at, saved_steps) = (Instant::now(), progress.steps);
        }
        if stop {
            return Err(JobError::Cancelled.into());
        }
    }
    let mut warnings = BTreeMap::new();
    let halvings = u64::from(ctx.job().micro_batch_halvings);
    for (name, count) in [("micro_batch_halved", halvings), ("setback", setbacks.count)] {
        if count > 0 {
            warnings.insert(name.to_owned(), count);
        }
    }
    Ok(TrainOutcome {
        steps: progress.steps,
        tokens: progress.tokens,
        data_cursor: progress.data_cursor,
        curves,
        left_out: setbacks.left_out.into_iter().collect(),
        warnings,
    })
}

/// The name of one training among several of a step: its folder's; empty where the step trains once.
fn series_of(ctx: &StepContext, folder: &Path) -> String {
    let below = folder.strip_prefix(&ctx.job().checkpoints).unwrap_or(Path::new(""));
    below.to_string_lossy().into_owned()
}

fn is_due(params: &CheckpointParams, steps: u64, secs: f64) -> bool {
    (params.every_steps > 0 && steps >= params.every_steps)
        || (params.every_secs > 0.0 && secs >= params.every_secs)
}

/// One optimiser step, if it is one that is not left out. Returns the tokens that carried loss.
fn one_step(
    ctx: &StepContext,
    (plan, folder): (&TrainPlan, &Path),
    objective: &mut dyn Objective,
    (optimizer, setbacks, meter): (&mut Optimizer, &mut Setbacks, &mut StepMeter<'_>),
    (step, curves): (u64, &mut Curves),
) -> Result<u64, TrainError> {
    if setbacks.leaves_out(step) {
        return Ok(0);
    }
    let Gradient { loss, norm, tokens, mut metrics, trouble, data_secs } =
        accumulate(objective, optimizer, step, |loss| setbacks.judge(loss, plan.setbacks))?;
    meter.passes_done(data_secs);
    if let Some(trouble) = trouble {
        optimizer.zero_grad();
        ctx.events().metric("loss", step, loss);
        give_way(ctx, (plan, folder), objective, setbacks, (step, trouble))?;
        return Ok(0);
    }
    setbacks.take_good(loss, plan.setbacks);
    let scale = if plan.grad_clip > 0.0 && norm > plan.grad_clip { plan.grad_clip / norm } else { 1.0 };
    let factor = plan.schedule.factor(step);
    optimizer.step(factor, scale);
    meter.update_done();
    metrics.extend([("loss", loss), ("grad_norm", norm), ("lr", plan.optimizer.lr * factor)]);
    let stride = (plan.steps / 500).max(1);
    for (name, value) in metrics {
        ctx.events().metric(name, step, value);
        if step % stride == 0 || step + 1 == plan.steps {
            curves.push(name, step, value);
        }
    }
    Ok(tokens)
}

/// What the micro-batches of a step gave.
struct Gradient {
    loss: f64,
    norm: f64,
    tokens: u64,
    metrics: Vec<(&'static str, f64)>,
    trouble: Option<Trouble>,
    data_secs: f64,
}

/// Forward and backward of every micro-batch; `judge` says whether the step's loss is one to go on with.
fn accumulate(
    objective: &mut dyn Objective,
    optimizer: &Optimizer,
    step: u64,
    judge: impl Fn(f64) -> Option<Trouble>,
) -> Result<Gradient, TrainError> {
    let mut sum =
        Gradient { loss: 0.0, norm: 0.0, tokens: 0, metrics: Vec::new(), trouble: None, data_secs: 0.0 };
    for micro in 0..objective.micro_batches(step) {
        let part = objective.loss(step, micro)?;
        if part.tokens == 0 {
            return Err(TrainError::NoLoss { step, micro });
        }
        sum.data_secs += part.data_secs;
        let value = part.loss.f_double_value(&[])?;
        sum.loss += value;
        if !value.is_finite() {
            sum.trouble = Some(Trouble::Loss(value));
            return Ok(sum);
        }
        part.loss.f_backward()?;
        sum.tokens += part.tokens;
        for (name, value) in part.metrics {
            match sum.metrics.iter_mut().find(|(known, _)| *known == name) {
                Some((_, total)) => *total += value,
                None => sum.metrics.push((name, value)),
            }
        }
    }
    sum.norm = optimizer.grad_norm();
    let of_norm = (!sum.norm.is_finite()).then_some(Trouble::Gradient(sum.norm));
    sum.trouble = judge(sum.loss).or(of_norm);
    Ok(sum)
}

/// A bad step is left out, or the run goes back, and both are told.
fn give_way(
    ctx: &StepContext,
    (plan, folder): (&TrainPlan, &Path),
    objective: &mut dyn Objective,
    setbacks: &mut Setbacks,
    (step, trouble): (u64, Trouble),
) -> Result<(), TrainError> {
    let verdict = setbacks.take_bad(step, trouble, plan.setbacks)?;
    let share = format!("setback {} of at most {}", setbacks.count, plan.setbacks.max_setbacks);
    match verdict {
        Verdict::LeaveOut => {
            let words = trouble.words();
            ctx.events()
                .warning("setback", format!("optimiser step {step}: {words}; it is left out ({share})"));
            Ok(())
        }
        Verdict::GoBack(to) => {
            objective.go_back(to)?;
            setbacks.write(folder)?;
            let error = TrainError::WentBack { step, trouble: trouble.words(), to };
            ctx.events().warning("setback", format!("{error} ({share})"));
            Err(error)
        }
    }
}
