//! The loop.

mod step;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use cupola_specs::artifact::BadStep;
use cupola_specs::job::{BestMetric, CheckpointParams};
use tch::Tensor;

use super::buckets::Buckets;
use super::checkpoint::{Checkpoints, Progress};
use super::course::Course;
use super::ranks::Ranks;
use super::saver::Saver;
use super::setback::Setbacks;
use super::shares::Shares;
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
///
/// # Errors
/// On a rank other than the first, [`JobError::PartDone`] where the loop is at its end.
pub fn train_in(
    ctx: &StepContext,
    folder: &Path,
    plan: &TrainPlan,
    objective: &mut dyn Objective,
) -> Result<TrainOutcome, TrainError> {
    let ranks = Ranks::join(ctx)?;
    let mut optimizer = Optimizer::new(objective.parameters(), plan.optimizer.clone());
    plan.optimizer.check_groups(optimizer.parameters())?;
    plan.check_warmup()?;
    let shares = Shares::of(&ranks, &mut optimizer, ctx.job().parallel.zero);
    let checkpoints = ranks.is_first().then(|| Checkpoints::open(ctx, folder, plan)).transpose()?;
    let state = shares.to_fill(&optimizer);
    let course = Course::begin(&ranks, folder, checkpoints.as_ref(), &state)?;
    shares.hand_out(state)?;
    optimizer.set_steps(course.progress.updates());
    if course.progress.steps > 0 {
        let steps = course.progress.steps;
        ctx.events().log(format!("resumes after optimiser step {steps} of {}", plan.steps));
    }
    announce(ctx, &ranks, plan, &*objective);
    let mut run = Run {
        ctx,
        plan,
        folder,
        objective,
        buckets: Buckets::new(&ranks, optimizer.parameters())?,
        optimizer,
        shares,
        setbacks: course.setbacks,
        meter: StepMeter::start(ctx, &series_of(ctx, folder), course.progress.steps),
        curves: course.progress.curves(),
        saved_at: Instant::now(),
        saved_steps: course.progress.steps,
        progress: course.progress,
        ranks,
    };
    let Some(checkpoints) = &checkpoints else {
        run.finish(&mut None).and_then(|()| run.end())?;
        return Err(JobError::PartDone.into());
    };
    let state = std::thread::scope(|scope| {
        let mut store = Some(Store { checkpoints, saver: Saver::start(scope, checkpoints) });
        let ended = run.finish(&mut store).and_then(|()| run.end());
        let settled = store.as_mut().map_or(Ok(()), |store| store.saver.settle());
        match (ended, settled) {
            (Ok(state), settled) => settled.map(|()| state),
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(lost)) => {
                ctx.events().log(format!("a state was not written: {lost}"));
                Err(error)
            }
        }
    })?;
    let exported_step = checkpoints.load_export(&run.saved(), &state)?;
    run.optimizer.finish(&state);
    Ok(run.outcome(exported_step))
}

/// The name of one training among several of a step: its folder's; empty where the step trains once.
fn series_of(ctx: &StepContext, folder: &Path) -> String {
    let below = folder.strip_prefix(&ctx.job().checkpoints).unwrap_or(Path::new(""));
    below.to_string_lossy().into_owned()
}

/// Says how a run is shared, where it is.
fn announce(ctx: &StepContext, ranks: &Ranks, plan: &TrainPlan, objective: &dyn Objective) {
    if ranks.is_alone() {
        return;
    }
    let (count, micros) = (ranks.count(), objective.micro_batches(0));
    let how = if ctx.job().parallel.zero > 0 { ", with the optimiser's state shared out" } else { "" };
    ctx.events().log(format!("{} by {count} ranks: {micros} micro-batches a step{how}", plan.stage));
    if micros < count as u64 {
        let message = format!("a step has {micros} micro-batches for {count} ranks: some do nothing");
        ctx.events().warning("idle_ranks", message);
    }
}

/// Where states go: on the first rank.
struct Store<'a> {
    checkpoints: &'a Checkpoints<'a>,
    saver: Saver<'a>,
}

/// A run in the loop.
struct Run<'a> {
    ctx: &'a StepContext,
    plan: &'a TrainPlan,
    folder: &'a Path,
    objective: &'a mut dyn Objective,
    ranks: Ranks,
    /// The way of gradients to the other ranks; none where there are none.
    buckets: Option<Buckets>,
    optimizer: Optimizer,
    shares: Shares,
    setbacks: Setbacks,
    meter: StepMeter<'a>,
    curves: Curves,
    progress: Progress,
    saved_at: Instant,
    saved_steps: u64,
}

impl Run<'_> {
    fn finish(&mut self, store: &mut Option<Store<'_>>) -> Result<(), TrainError> {
        if self.progress.owes_evaluation {
            self.evaluate(store)?;
        }
        while self.progress.steps < self.plan.steps {
            let step = self.progress.steps;
            self.meter.begin_step();
            let tokens = match self.one_step(step) {
                Err(error) if error.is_cancelled() => return self.leave(store, error),
                tokens => tokens?,
            };
            self.progress.steps = step + 1;
            self.progress.tokens += tokens;
            self.progress.data_cursor = self.objective.data_cursor(self.progress.steps);
            let (done, total) = (self.progress.steps as f64, self.plan.steps as f64);
            self.meter.end_step(step, tokens, &mut *self.objective, self.progress.steps == self.plan.steps);
            self.ctx.events().progress(done, total, "steps", &self.plan.stage);
            self.evaluate(store)?;
            let is_due = match store {
                Some(store) => self.is_due(&mut store.saver)? || self.is_worth_it(),
                None => false,
            };
            let [is_stopped, is_due] = self.ranks.any([self.ctx.stop_requested(), is_due])?;
            if is_stopped {
                return self.leave(store, JobError::Cancelled.into());
            }
            if is_due {
                self.save(store)?;
            }
        }
        Ok(())
    }

    /// All ranks are through: the whole state, on the first one.
    fn end(&self) -> Result<Vec<(String, Tensor)>, TrainError> {
        let state = self.shares.gather(&self.optimizer)?;
        self.ranks.barrier()?;
        Ok(state)
    }

    /// What happens between steps: the first rank's work, for which the others wait. A stop in the middle of it leaves it to the next attempt,
    /// whole.
    fn evaluate(&mut self, store: &mut Option<Store<'_>>) -> Result<(), TrainError> {
        let before = self.curves.clone();
        let (objective, curves, done) = (&mut *self.objective, &mut self.curves, self.progress.steps);
        match self.ranks.only_first(|| objective.after_step(done, curves)) {
            Err(error) if error.is_cancelled() => {
                self.curves = before;
                self.progress.owes_evaluation = true;
                return self.leave(store, error);
            }
            done => done?,
        };
        self.progress.owes_evaluation = false;
        if self.plan.checkpoint.keep_best.is_some() {
            let is_new = before != self.curves;
            let is_best =
                store.as_ref().is_some_and(|store| is_new && store.checkpoints.is_best(&self.saved()));
            if let [true] = self.ranks.any([is_best])? {
                self.save(store)?;
            }
        }
        Ok(())
    }

    /// The run is asked to stop: what was done is saved, and on the disk, before it says so.
    fn leave(&mut self, store: &mut Option<Store<'_>>, error: TrainError) -> Result<(), TrainError> {
        self.optimizer.zero_grad();
        if self.progress.steps > self.saved_steps || self.progress.owes_evaluation {
            self.save(store)?;
        }
        if let Some(store) = store {
            store.saver.settle()?;
        }
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

    /// Has a state written; the others wait until the one before it is.
    fn save(&mut self, store: &mut Option<Store<'_>>) -> Result<(), TrainError> {
        let begin = Instant::now();
        if !self.ranks.is_alone() {
            self.ranks.only_first(|| store.as_mut().map_or(Ok(()), |store| store.saver.settle()))?;
        }
        let state = self.shares.gather(&self.optimizer)?;
        if let Some(store) = store {
            store.saver.save(&self.saved(), state)?;
        }
        self.meter.checkpoint_done(begin);
        (self.saved_at, self.saved_steps) = (Instant::now(), self.progress.steps);
        Ok(())
    }

    /// The progress as a state holds it.
    fn saved(&self) -> Progress {
        Progress { curves: self.curves.0.clone(), setbacks: self.setbacks.clone(), ..self.progress.clone() }
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
