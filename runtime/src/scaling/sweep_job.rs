//! The sweep step: every token budget and learning rate of one shape, each run as a pretrain job would train it.
//!
//! A finished run is kept in the checkpoint folder, so a killed sweep goes on with the next one. Runs are validated on a small even
//! sample of the held-out rows; one of them also on the sample that a pretrain job's result is measured on, and the ratio of its two
//! losses corrects the others: which rows were sampled moves every model's loss alike.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use cupola_specs::artifact::SweepRun;
use cupola_specs::job::{CheckpointParams, RuleOr, SweepParams};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ScalingError;
use crate::job::{StepContext, Summary, write_durably};
use crate::model::Network;
use crate::train::{
    Curves, FINAL_TOKENS, LanguageRun, Recipe, RowShape, SetbackLimits, TokenData, TrainError, TrainOutcome,
    TrainPlan, train_in, validate,
};

/// Held-out tokens that every run is validated on.
const VALIDATION_TOKENS: u64 = 65_536;
/// Fewest tokens of a run: some steps of the smallest batch, else a loss says nothing but how the weights began.
const MIN_TOKENS: u64 = 16 * 2048;
/// From here on a learning rate in the grid is a multiple of the automatic one, below it an absolute rate.
const SMALLEST_MULTIPLE: f64 = 0.1;
/// Seconds between the states of one run.
const CHECKPOINT_SECS: f64 = 120.0;

/// One run as it is kept: its numbers, and the losses as a pretrain job measures them, where that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KeptRun {
    /// None where it diverged.
    run: Option<SweepRun>,
    /// Nats a token and bits a byte on the sample of a pretrain job's result.
    as_final: Option<(f64, f64)>,
}

/// Trains the runs of one shape.
pub fn run(ctx: &StepContext, params: &SweepParams) -> Result<Summary, ScalingError> {
    let (data, held_out) = LanguageRun::open(ctx)?;
    let budgets = budgets(ctx, params, &data)?;
    let total = budgets.len() * params.lr.len();
    let mut kept: Vec<KeptRun> = Vec::new();
    for &tokens in &budgets {
        let first = kept.len();
        for &lr in &params.lr {
            ctx.events().progress(kept.len() as f64, total as f64, "runs", "sweep");
            let measure_as_final = kept.iter().all(|kept| kept.as_final.is_none());
            let sweep = Sweep { ctx, params, data: &data, held_out: &held_out };
            kept.push(sweep.one(tokens, lr, measure_as_final)?);
        }
        if kept[first..].iter().all(|kept| kept.run.is_none()) {
            return Err(ScalingError::Diverged { tokens, rates: params.lr.clone() });
        }
    }
    ctx.events().progress(total as f64, total as f64, "runs", "sweep");
    let runs = corrected(ctx, kept);
    let path = ctx.staging().join("runs.json");
    write_json(&path, &runs)?;
    let lowest = runs.iter().map(|run| run.validation_loss).fold(f64::INFINITY, f64::min);
    let mut summary = Summary::new();
    summary.insert("runs".into(), json!(runs.len()));
    summary.insert("params".into(), json!(runs.first().map_or(0, |run| run.params)));
    summary.insert("lowest_validation_loss".into(), json!(lowest));
    summary.insert("flops_per_sec".into(), json!(super::points::flops_per_sec(&runs)));
    Ok(summary)
}

/// Token counts of the grid, the largest first; those that are too small or more than there is are moved, with a warning.
fn budgets(ctx: &StepContext, params: &SweepParams, data: &TokenData) -> Result<Vec<u64>, ScalingError> {
    let count = params.tokens_per_param.len() + params.tokens.len();
    if count == 0 || params.lr.is_empty() {
        return Err(ScalingError::Parameter {
            field: "grid".into(),
            expected: "at least one token budget and one learning rate".into(),
            got: format!("{count} and {}", params.lr.len()),
        });
    }
    let size = Network::init(&params.shape, 1, 0, tch::Device::Cpu)?.num_params();
    let available = data.num_tokens();
    let mut budgets = Vec::new();
    let by_ratio = params.tokens_per_param.iter().map(|ratio| (ratio * size as f64).round() as u64);
    for wanted in by_ratio.chain(params.tokens.iter().copied()) {
        let tokens = wanted.min(available).max(MIN_TOKENS);
        if tokens != wanted {
            ctx.events().warning(
                "token_budget",
                format!(
                    "{tokens} tokens instead of {wanted} for {size} parameters: at least {MIN_TOKENS}, at most the \
                     corpus' {available}"
                ),
            );
        }
        budgets.push(tokens);
    }
    budgets.sort_unstable();
    budgets.dedup();
    budgets.reverse();
    Ok(budgets)
}

/// What every run of a sweep shares.
struct Sweep<'a> {
    ctx: &'a StepContext,
    params: &'a SweepParams,
    data: &'a TokenData,
    held_out: &'a TokenData,
}

impl Sweep<'_> {
    /// Trains one run, or takes it from an earlier attempt.
    fn one(&self, tokens: u64, lr: f64, measure_as_final: bool) -> Result<KeptRun, ScalingError> {
        let folder = self.ctx.job().checkpoints.join(format!("run-{tokens}-{lr:e}"));
        let path = folder.join("run.json");
        if path.exists() {
            return read_json(&path);
        }
        std::fs::create_dir_all(&folder).map_err(|error| ScalingError::io(&folder, error))?;
        let kept = match self.train(&folder, tokens, lr, measure_as_final) {
            Ok(kept) => kept,
            Err(TrainError::NotFinite { step, .. } | TrainError::GradientNotFinite { step, .. }) => {
                let message = format!("{tokens} tokens at learning rate {lr}: diverged at step {step}");
                self.ctx.events().warning("run_diverged", message);
                KeptRun { run: None, as_final: None }
            }
            Err(error) => return Err(error.into()),
        };
        write_json(&path, &kept)?;
        drop_states(&folder)?;
        Ok(kept)
    }

    fn train(
        &self,
        folder: &Path,
        tokens: u64,
        lr: f64,
        measure_as_final: bool,
    ) -> Result<KeptRun, TrainError> {
        let (ctx, params) = (self.ctx, self.params);
        let recipe = Recipe {
            shape: &params.shape,
            tokens,
            optimizer: &params.optimizer,
            batch: params.batch,
            phases: &params.phases,
            rows: row_shape(params),
            extend: None,
            max_epochs: None,
            precision: params.precision,
            micro_batch_halvings: ctx.job().micro_batch_halvings,
            ranks: 1,
            init_seed: ctx.seed("init"),
            order_seed: ctx.seed("order"),
        };
        let mut run = LanguageRun::new(&recipe, self.data, ctx.tensor_device())?;
        let factor = if lr >= SMALLEST_MULTIPLE { lr } else { lr / run.settings.lr };
        run.settings.lr *= factor;
        run.settings.matrix_lr *= factor;
        if matches!(params.optimizer.weight_decay, RuleOr::Rule(_)) {
            // The rule holds the product of rate and decay.
            run.settings.weight_decay /= factor;
        }
        let plan = TrainPlan {
            steps: run.steps,
            optimizer: run.settings.clone(),
            schedule: run.schedule.clone(),
            grad_clip: params.optimizer.grad_clip,
            setbacks: SetbackLimits::of(&params.optimizer),
            checkpoint: CheckpointParams {
                every_secs: CHECKPOINT_SECS,
                every_steps: 0,
                keep: 1,
                keep_best: None,
            },
            export: None,
            stage: format!("{tokens} tokens"),
        };
        let steps_here = Rc::new(Cell::new(0_u64));
        let counted = Rc::clone(&steps_here);
        run.evaluate_with(Box::new(move |_, _, _| {
            counted.set(counted.get() + 1);
            Ok(())
        }));
        let begin = Instant::now();
        let outcome = train_in(ctx, folder, &plan, &mut run)?;
        // A run that was interrupted is timed by the steps of this attempt.
        let secs = begin.elapsed().as_secs_f64() * run.steps as f64 / steps_here.get().max(1) as f64;
        self.measure(&run, &outcome, secs, measure_as_final)
    }

    fn measure(
        &self,
        run: &LanguageRun,
        outcome: &TrainOutcome,
        secs: f64,
        measure_as_final: bool,
    ) -> Result<KeptRun, TrainError> {
        let (rows, precision) = (row_shape(self.params), self.params.precision);
        let measure = |tokens| {
            validate(&run.network, self.held_out, rows, precision, tokens, &|| self.ctx.check_stop())
        };
        let sample = measure(VALIDATION_TOKENS)?;
        let as_final = if measure_as_final {
            let measured = measure(FINAL_TOKENS)?;
            Some((measured.loss, measured.bpb))
        } else {
            None
        };
        self.ctx.events().log(format!(
            "{} tokens, learning rate {:.2e}: validation loss {:.4} in {secs:.1} s",
            run.tokens, run.settings.lr, sample.loss
        ));
        let sweep_run = SweepRun {
            shape: self.params.shape.clone(),
            params: run.network.num_params(),
            total_params: run.network.total_params(),
            tokens: run.tokens,
            flops: run.flops,
            lr: run.settings.lr,
            validation_loss: sample.loss,
            validation_bpb: sample.bpb,
            secs,
            curve: curve(&outcome.curves, run.tokens / run.steps.max(1)),
        };
        Ok(KeptRun { run: Some(sweep_run), as_final })
    }
}

/// What the rows of a sweep are like.
fn row_shape(params: &SweepParams) -> RowShape {
    let SweepParams { context_length, packing, document_mask, .. } = *params;
    RowShape { context_length, packing, document_mask }
}

/// The training curve as (tokens, loss).
fn curve(curves: &Curves, step_tokens: u64) -> Vec<(f64, f64)> {
    let points = curves.0.get("loss").map(Vec::as_slice).unwrap_or_default();
    points.iter().map(|point| (((point.step + 1) * step_tokens) as f64, point.value)).collect()
}

/// The runs that ended, their losses corrected from the small sample of held-out rows to that of a pretrain job's result.
fn corrected(ctx: &StepContext, kept: Vec<KeptRun>) -> Vec<SweepRun> {
    let measured = kept.iter().find_map(|kept| Some((kept.run.as_ref()?, kept.as_final?)));
    let (loss, bpb) = measured
        .map_or((1.0, 1.0), |(run, full)| (full.0 / run.validation_loss, full.1 / run.validation_bpb));
    ctx.events()
        .log(format!("losses on a result's held-out rows are {loss:.4} times those on the small sample"));
    kept.into_iter()
        .filter_map(|kept| kept.run)
        .map(|run| SweepRun {
            validation_loss: run.validation_loss * loss,
            validation_bpb: run.validation_bpb * bpb,
            ..run
        })
        .collect()
}

/// Removes the states of a run that ended.
fn drop_states(folder: &Path) -> Result<(), ScalingError> {
    let entries = std::fs::read_dir(folder).map_err(|error| ScalingError::io(folder, error))?;
    for entry in entries {
        let path: PathBuf = entry.map_err(|error| ScalingError::io(folder, error))?.path();
        let removed = match path.file_name() {
            Some(name) if name == "run.json" => Ok(()),
            _ if path.is_dir() => std::fs::remove_dir_all(&path),
            _ => std::fs::remove_file(&path),
        };
        removed.map_err(|error| ScalingError::io(&path, error))?;
    }
    Ok(())
}

/// Writes a value as JSON, whole or not at all.
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), ScalingError> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| ScalingError::parse(path, &error))?;
    Ok(write_durably(path, &text)?)
}

/// Reads a value from JSON.
pub(super) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ScalingError> {
    let text = std::fs::read(path).map_err(|error| ScalingError::io(path, error))?;
    serde_json::from_slice(&text).map_err(|error| ScalingError::parse(path, &error))
}
