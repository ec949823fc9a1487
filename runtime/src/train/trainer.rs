//! The loop.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use cupola_specs::artifact::BadStep;
use cupola_specs::job::{BestMetric, CheckpointParams};

use super::checkpoint::{Checkpoints, Progress};
use super::gradients::{GROUP_STEPS, group_norms};
use super::permutation::mix;
use super::saver::Saver;
use super::setback::{Bad, Setbacks, Trouble, Verdict};
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
    /// By which number the state is found whose weights the run ends with; none where they are the last one's.
    pub export: Option<BestMetric>,
    /// What a progress event calls this (`train`).
    pub stage: String,
}

impl TrainPlan {
    /// A warm-up that is longer than its run never comes to the rate that was asked for.
    fn check_warmup(&self) -> Result<(), TrainError> {
        let (warmup, steps) = (self.schedule.warmup_steps(), self.steps);
        if warmup > steps {
            return Err(TrainError::Refused(format!(
                "the warm-up of {warmup} steps is longer than the run of {steps}: shorten `optimizer.warmup`, or give a share such as 2%"
            )));
        }
        Ok(())
    }
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
    /// What was wrong with the bad ones among them.
    pub bad_steps: Vec<BadStep>,
    /// Optimiser steps that the weights have seen: all of them, or those of the best state.
    pub exported_step: u64,
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
    plan.optimizer.check_groups(optimizer.parameters())?;
    plan.check_warmup()?;
    let checkpoints = Checkpoints::open(ctx, folder, plan)?;
    let noted = Setbacks::read(folder)?;
    let restored = checkpoints.restore(&mut optimizer, &noted)?;
    if let Some(progress) = &restored {
        ctx.events().log(format!("resumes after optimiser step {} of {}", progress.steps, plan.steps));
    }
    let setbacks = noted.resume(restored.as_ref());
    let progress = restored.unwrap_or_else(Progress::start);
    let mut run = Run {
        ctx,
        plan,
        folder,
        objective,
        optimizer,
        setbacks,
        meter: StepMeter::start(ctx, &series_of(ctx, folder), progress.steps),
        curves: progress.curves(),
        saved_at: Instant::now(),
        saved_steps: progress.steps,
        progress,
    };
    std::thread::scope(|scope| {
        let mut saver = Saver::start(scope, &checkpoints);
        let ended = run.finish(&checkpoints, &mut saver);
        match (ended, saver.settle()) {
            (Ok(()), settled) => settled,
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(lost)) => {
                ctx.events().log(format!("a state was not written: {lost}"));
                Err(error)
            }
        }
    })?;
    let exported_step = checkpoints.load_export(&run.saved(), &mut run.optimizer)?;
    run.optimizer.finish();
    Ok(run.outcome(exported_step))
}

/// The name of one training among several of a step: its folder's; empty where the step trains once.
fn series_of(ctx: &StepContext, folder: &Path) -> String {
    let below = folder.strip_prefix(&ctx.job().checkpoints).unwrap_or(Path::new(""));
    below.to_string_lossy().into_owned()
}

/// A run in the loop.
struct Run<'a> {
    ctx: &'a StepContext,
    plan: &'a TrainPlan,
    folder: &'a Path,
    objective: &'a mut dyn Objective,
    optimizer: Optimizer,
    setbacks: Setbacks,
    meter: StepMeter<'a>,
    curves: Curves,
    progress: Progress,
    saved_at: Instant,
    saved_steps: u64,
}

impl Run<'_> {
    fn finish(&mut self, checkpoints: &Checkpoints<'_>, saver: &mut Saver<'_>) -> Result<(), TrainError> {
        if self.progress.owes_evaluation {
            self.evaluate(checkpoints, saver)?;
        }
        while self.progress.steps < self.plan.steps {
            let step = self.progress.steps;
            self.meter.begin_step();
            let tokens = match self.one_step(step) {
                Err(error) if error.is_cancelled() => return self.leave(saver, error),
                tokens => tokens?,
            };
            self.progress.steps = step + 1;
            self.progress.tokens += tokens;
            self.progress.data_cursor = self.objective.data_cursor(self.progress.steps);
            let (done, total) = (self.progress.steps as f64, self.plan.steps as f64);
            self.meter.end_step(step, tokens, &mut *self.objective, self.progress.steps == self.plan.steps);
            self.ctx.events().progress(done, total, "steps", &self.plan.stage);
            self.evaluate(checkpoints, saver)?;
            if self.ctx.stop_requested() {
                return self.leave(saver, JobError::Cancelled.into());
            }
            if self.is_due(saver)? || self.is_worth_it() {
                self.save(saver)?;
            }
        }
        Ok(())
    }

    /// What happens between steps. A stop in the middle of it leaves it to the next attempt, whole.
    fn evaluate(&mut self, checkpoints: &Checkpoints<'_>, saver: &mut Saver<'_>) -> Result<(), TrainError> {
        let before = self.curves.clone();
        match self.objective.after_step(self.progress.steps, &mut self.curves) {
            Err(error) if error.is_cancelled() => {
                self.curves = before;
                self.progress.owes_evaluation = true;
                return self.leave(saver, error);
            }
            done => done?,
        }
        self.progress.owes_evaluation = false;
        if self.plan.checkpoint.keep_best.is_some()
            && before != self.curves
            && checkpoints.is_best(&self.saved())
        {
            self.save(saver)?;
        }
        Ok(())
    }

    /// The run is asked to stop: what was done is saved, and on the disk, before it says so.
    fn leave(&mut self, saver: &mut Saver<'_>, error: TrainError) -> Result<(), TrainError> {
        self.optimizer.zero_grad();
        if self.progress.steps > self.saved_steps || self.progress.owes_evaluation {
            self.save(saver)?;
        }
        saver.settle()?;
        Err(error)
    }

    /// Steps are counted whatever the disk does; a state by the clock is due once the one before it is written.
    fn is_due(&self, saver: &mut Saver<'_>) -> Result<bool, TrainError> {
        let params = &self.plan.checkpoint;
        let is_idle = saver.is_idle()?;
        let steps = self.progress.steps - self.saved_steps;
        if params.every_steps > 0 && steps >= params.every_steps {
            return Ok(true);
        }
        let by_clock = params.every_secs > 0.0
            && steps > 0
            && self.saved_at.elapsed().as_secs_f64() >= params.every_secs;
        if by_clock && !is_idle {
            saver.tell_late();
        }
        Ok(by_clock && is_idle)
    }

    /// Whether the last state is saved though the run is at its end: what comes after the loop may be stopped too.
    fn is_worth_it(&self) -> bool {
        let is_on = self.plan.checkpoint.every_steps > 0 || self.plan.checkpoint.every_secs > 0.0;
        is_on && self.progress.steps == self.plan.steps && self.saved_at.elapsed() > WORTH_SAVING
    }

    fn save(&mut self, saver: &mut Saver<'_>) -> Result<(), TrainError> {
        let begin = Instant::now();
        saver.save(&self.saved(), &self.optimizer)?;
        self.meter.checkpoint_done(begin);
        (self.saved_at, self.saved_steps) = (Instant::now(), self.progress.steps);
        Ok(())
    }

    /// The progress as a state holds it.
    fn saved(&self) -> Progress {
        Progress { curves: self.curves.0.clone(), setbacks: self.setbacks.clone(), ..self.progress.clone() }
    }

    /// One optimiser step, if it is one that is not left out. Returns the tokens that carried loss.
    fn one_step(&mut self, step: u64) -> Result<u64, TrainError> {
        if self.setbacks.leaves_out(step) {
            return Ok(0);
        }
        // What draws from the library's own generator (dropout) does so as a function of the step, so that a resumed run draws the same.
        tch::manual_seed(mix(self.ctx.seed("train") ^ mix(step)) as i64);
        let Gradient { loss, norm, tokens, mut metrics, bad, data_secs } = self.accumulate(step)?;
        self.meter.passes_done(data_secs);
        let events = self.ctx.events();
        if let Some(bad) = bad {
            self.optimizer.zero_grad();
            events.metric("loss", step, loss);
            self.give_way(step, bad)?;
            return Ok(0);
        }
        let plan = self.plan;
        self.setbacks.take_good(loss, plan.setbacks);
        if step.is_multiple_of(GROUP_STEPS) {
            for (group, norm) in group_norms(self.optimizer.parameters()) {
                events.metric(&format!("grad_norm.{group}"), step, norm);
            }
        }
        // As `torch.nn.utils.clip_grad_norm_` has it.
        let scale = if plan.grad_clip > 0.0 { (plan.grad_clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let pace = plan.optimizer.pace(step, plan.steps, plan.schedule.factor(step));
        self.optimizer.step(pace, scale);
        self.meter.update_done();
        metrics.extend([("loss", loss), ("grad_norm", norm), ("lr", plan.optimizer.lr * pace.lr)]);
        let stride = (plan.steps / 500).max(1);
        for (name, value) in metrics {
            events.metric(name, step, value);
            if step.is_multiple_of(stride) || step + 1 == plan.steps {
                self.curves.push(name, step, value);
            }
        }
        Ok(tokens)
    }

    /// Forward and backward of every micro-batch, unless the run is asked to stop between two of them.
    fn accumulate(&mut self, step: u64) -> Result<Gradient, TrainError> {
        let mut sum =
            Gradient { loss: 0.0, norm: 0.0, tokens: 0, metrics: Vec::new(), bad: None, data_secs: 0.0 };
        for micro in 0..self.objective.micro_batches(step) {
            self.ctx.check_stop()?;
            let part = self.objective.loss(step, micro)?;
            if part.tokens == 0 {
                return Err(TrainError::NoLoss { step, micro });
            }
            sum.data_secs += part.data_secs;
            let value = part.loss.f_double_value(&[])?;
            sum.loss += value;
            if !value.is_finite() {
                sum.bad = Some(Bad { trouble: Trouble::Loss(value), micro: Some(micro) });
                return Ok(sum);
            }
            match &part.auxiliary {
                Some(auxiliary) => (part.loss + auxiliary).f_backward()?,
                None => part.loss.f_backward()?,
            }
            sum.tokens += part.tokens;
            for (name, value) in part.metrics {
                match sum.metrics.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, total)) => *total += value,
                    None => sum.metrics.push((name, value)),
                }
            }
        }
        sum.norm = self.optimizer.grad_norm();
        let of_norm = (!sum.norm.is_finite()).then_some(Trouble::Gradient(sum.norm));
        let trouble = self.setbacks.judge(sum.loss, self.plan.setbacks).or(of_norm);
        sum.bad = trouble.map(|trouble| Bad { trouble, micro: None });
        Ok(sum)
    }

    /// A bad step is left out, or the run goes back, and both are told with the data that the step read.
    fn give_way(&mut self, step: u64, bad: Bad) -> Result<(), TrainError> {
        let record = self.record_of(step, bad);
        let rows = record.rows.iter().take(NAMED_ROWS).cloned().collect::<Vec<_>>().join("; ");
        let read = format!("it read {rows}{}", if record.rows.len() > NAMED_ROWS { "; …" } else { "" });
        self.setbacks.note(record, self.folder)?;
        let (trouble, limits) = (bad.trouble, self.plan.setbacks);
        let verdict = self.setbacks.take_bad(step, trouble, limits)?;
        let share = format!("setback {} of at most {}", self.setbacks.count, limits.max_setbacks);
        match verdict {
            Verdict::LeaveOut => {
                let words = trouble.words();
                let message = format!("optimiser step {step}: {words}; it is left out ({share}); {read}");
                self.ctx.events().warning("setback", message);
                Ok(())
            }
            Verdict::GoBack(to) => {
                self.objective.go_back(to)?;
                self.setbacks.write(self.folder)?;
                let error = TrainError::WentBack { step, trouble: trouble.words(), to };
                self.ctx.events().warning("setback", format!("{error} ({share}); {read}"));
                Err(error)
            }
        }
    }

    /// The data of a bad micro-batch, or of all of a step where the whole is bad.
    fn record_of(&mut self, step: u64, bad: Bad) -> BadStep {
        let micros = bad.micro.map_or(0..self.objective.micro_batches(step), |micro| micro..micro + 1);
        let mut rows: Vec<String> = micros.flat_map(|micro| self.objective.row_names(step, micro)).collect();
        let num_rows = rows.len() as u64;
        rows.truncate(RECORDED_ROWS);
        BadStep { step, reason: bad.trouble.words(), micro_batch: bad.micro, num_rows, rows }
    }

    fn outcome(self, exported_step: u64) -> TrainOutcome {
        let mut warnings = BTreeMap::new();
        let halvings = u64::from(self.ctx.job().micro_batch_halvings);
        for (name, count) in [("micro_batch_halved", halvings), ("setback", self.setbacks.count)] {
            if count > 0 {
                warnings.insert(name.to_owned(), count);
            }
        }
        TrainOutcome {
            steps: self.progress.steps,
            tokens: self.progress.tokens,
            data_cursor: self.progress.data_cursor,
            curves: self.curves,
            left_out: self.setbacks.left_out.into_iter().collect(),
            bad_steps: self.setbacks.bad.into_values().collect(),
            exported_step,
            warnings,
        }
    }
}

/// Work that is saved at the end of the loop.
const WORTH_SAVING: Duration = Duration::from_mins(1);
/// Rows of a bad step that its record names.
const RECORDED_ROWS: usize = 256;
/// Rows of a bad step that its warning names.
const NAMED_ROWS: usize = 3;

/// What the micro-batches of a step gave.
struct Gradient {
    loss: f64,
    norm: f64,
    tokens: u64,
    metrics: Vec<(&'static str, f64)>,
    bad: Option<Bad>,
    data_secs: f64,
}
