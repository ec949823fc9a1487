//! The loop.

use std::path::Path;
use std::time::Instant;

use cupola_specs::job::CheckpointParams;

use super::checkpoint::{Checkpoints, Progress};
use super::{Curves, LrSchedule, Objective, Optimizer, OptimizerSettings, TrainError};
use crate::job::{JobError, StepContext};

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
    let restored = checkpoints.restore(&mut optimizer)?;
    if let Some(progress) = &restored {
        ctx.events().log(format!("resumes after optimiser step {} of {}", progress.steps, plan.steps));
    }
    let mut progress = restored.unwrap_or_else(Progress::start);
    let mut curves = progress.curves();
    let mut saved_at = Instant::now();
    let mut saved_steps = progress.steps;
    while progress.steps < plan.steps {
        let step = progress.steps;
        let begin = Instant::now();
        let tokens = one_step(ctx, plan, objective, &mut optimizer, (step, &mut curves))?;
        progress.steps = step + 1;
        progress.tokens += tokens;
        progress.data_cursor = objective.data_cursor(progress.steps);
        ctx.events().metric("tokens_per_sec", step, tokens as f64 / begin.elapsed().as_secs_f64());
        ctx.events().progress(progress.steps as f64, plan.steps as f64, "steps", &plan.stage);
        objective.after_step(progress.steps, &mut curves)?;
        let stop = ctx.stop_requested();
        if stop || is_due(&plan.checkpoint, progress.steps - saved_steps, saved_at.elapsed().as_secs_f64()) {
            progress.curves = curves.0.clone();
            ctx.events().checkpoint(checkpoints.save(&progress, &optimizer)?)?;
            (saved_at, saved_steps) = (Instant::now(), progress.steps);
        }
        if stop {
            return Err(JobError::Cancelled.into());
        }
    }
    Ok(TrainOutcome {
        steps: progress.steps,
        tokens: progress.tokens,
        data_cursor: progress.data_cursor,
        curves,
    })
}

fn is_due(params: &CheckpointParams, steps: u64, secs: f64) -> bool {
    (params.every_steps > 0 && steps >= params.every_steps)
        || (params.every_secs > 0.0 && secs >= params.every_secs)
}

/// Forward and backward of every micro-batch, then one step of the optimiser. Returns the tokens that carried loss.
fn one_step(
    ctx: &StepContext,
    plan: &TrainPlan,
    objective: &mut dyn Objective,
    optimizer: &mut Optimizer,
    (step, curves): (u64, &mut Curves),
) -> Result<u64, TrainError> {
    let (mut loss, mut tokens) = (0.0, 0);
    let mut metrics: Vec<(&'static str, f64)> = Vec::new();
    for micro in 0..objective.micro_batches(step) {
        let part = objective.loss(step, micro)?;
        if part.tokens == 0 {
            return Err(TrainError::NoLoss { step, micro });
        }
        let value = part.loss.f_double_value(&[])?;
        if !value.is_finite() {
            return Err(TrainError::NotFinite { step, loss: value });
        }
        part.loss.f_backward()?;
        loss += value;
        tokens += part.tokens;
        for (name, value) in part.metrics {
            match metrics.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += value,
                None => metrics.push((name, value)),
            }
        }
    }
    let norm = optimizer.grad_norm();
    if !norm.is_finite() {
        return Err(TrainError::GradientNotFinite { step, norm });
    }
    let scale = if plan.grad_clip > 0.0 && norm > plan.grad_clip { plan.grad_clip / norm } else { 1.0 };
    let factor = plan.schedule.factor(step);
    optimizer.step(factor, scale);
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
