//! Runs against themselves: stopped, damaged, resumed, accumulated otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cupola_specs::artifact::{BadStep, TokenIndex, TokenShard};
use cupola_specs::job::{
    AutoOr, BatchParams, CheckpointParams, DecayShape, EmaParams, Family, LrShape, ModelShape,
    MomentumWarmup, OptimizerParams, Packing, PhaseParams, Precision, RuleOr, Span,
};
use tch::{Device, Tensor};

use super::{
    Curves, LanguageRun, LrSchedule, Objective, OptimizerSettings, PhaseRate, Recipe, RowShape,
    SetbackLimits, StepLoss, TokenData, TrainError, TrainOutcome, TrainPlan, train,
};
use crate::job::sample::job_in;
use crate::job::{JobError, StepContext};
use crate::model::{Network, ParamGroup, Parameter, depth_shape};

pub(crate) const CONTEXT: u64 = 8;
const STEPS: u64 = 9;

/// The bytes of text behind an id of the shards written here: none behind the one before each document.
pub(super) fn bytes_of(id: u16) -> u32 {
    if id == 0 { 0 } else { 1 + u32::from(id % 4) }
}

/// Shards of patterned tokens, for both sides: the lengths of each domain's documents.
pub(crate) fn write_documents(folder: &Path, domains: &[(&str, &[u64])]) {
    let mut train = BTreeMap::new();
    for (domain, lengths) in domains {
        let (mut ids, mut starts) = (Vec::new(), Vec::new());
        for &length in *lengths {
            starts.extend((ids.len() as u64).to_le_bytes());
            ids.push(0);
            ids.extend((1..length).map(|i| 1 + (i * i + 3 * i) as u16 % 30));
        }
        let (file, starts_file) = (format!("{domain}.bin"), format!("{domain}.starts"));
        std::fs::write(folder.join(&file), ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>())
            .unwrap();
        std::fs::write(folder.join(&starts_file), starts).unwrap();
        let shard = TokenShard {
            file,
            starts: starts_file,
            num_tokens: ids.len() as u64,
            num_documents: lengths.len() as u64,
            num_bytes: ids.iter().map(|id| u64::from(bytes_of(*id))).sum(),
        };
        train.insert((*domain).to_owned(), shard);
    }
    std::fs::write(
        folder.join("bytes.bin"),
        (0..31).flat_map(|id| bytes_of(id).to_le_bytes()).collect::<Vec<_>>(),
    )
    .unwrap();
    let index = TokenIndex {
        vocab_size: 31,
        id_bytes: 2,
        bos_token_id: 0,
        domain_weights: BTreeMap::new(),
        token_bytes: "bytes.bin".into(),
        validation: train.clone(),
        train,
        tokenizer_fingerprint: "t".into(),
    };
    std::fs::write(folder.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
}

/// Two domains of different lengths.
pub(crate) fn write_tokens(folder: &Path) {
    write_documents(folder, &[("code", &[37, 5, 120, 64, 9, 90, 75]), ("docs", &[60, 1, 33, 76])]);
}

pub(in crate::train) fn context(folder: &Path, stop: Arc<AtomicBool>) -> StepContext {
    StepContext::new(job_in(folder), stop).unwrap()
}

pub(crate) fn phases() -> Vec<PhaseParams> {
    let weights = |code: f64| BTreeMap::from([("code".to_owned(), code), ("docs".to_owned(), 1.0 - code)]);
    vec![
        PhaseParams {
            until: 0.6,
            weights: weights(0.75),
            corpora: Vec::new(),
            lr: LrShape::Constant,
            lr_final: 0.0,
        },
        PhaseParams {
            until: 1.0,
            weights: weights(0.5),
            corpora: Vec::new(),
            lr: LrShape::OneMinusSqrt,
            lr_final: 0.0,
        },
    ]
}

pub(crate) fn optimizer_params() -> OptimizerParams {
    OptimizerParams {
        lr: AutoOr::Value(0.003),
        weight_decay: RuleOr::Value(0.01),
        weight_decay_schedule: DecayShape::Cosine,
        weight_decay_final: 0.0,
        momentum_warmup: MomentumWarmup { from: 0.85, steps: 5 },
        grad_clip: 0.5,
        warmup: Span::Share(0.2),
        z_loss: 1e-3,
        ema: Some(EmaParams { decay: 0.9, every_steps: 2 }),
        ..OptimizerParams::default()
    }
}

pub(crate) fn tiny_shape() -> ModelShape {
    ModelShape {
        hidden_size: 16,
        intermediate_size: 32,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 8,
        ..depth_shape(Family::Transformer, 2, CONTEXT)
    }
}

/// Trains the tiny run in `folder` with steps of four rows; asked to stop after `stop_at` steps.
fn run(
    folder: &Path,
    data: &TokenData,
    (micro, every_steps): (u64, u64),
    stop_at: Option<u64>,
) -> (Result<TrainOutcome, TrainError>, Vec<Vec<f32>>) {
    run_of(folder, data, (4, micro, every_steps), stop_at)
}

/// Trains the tiny run with steps of some rows.
fn run_of(
    folder: &Path,
    data: &TokenData,
    (rows, micro, every_steps): (u64, u64, u64),
    stop_at: Option<u64>,
) -> (Result<TrainOutcome, TrainError>, Vec<Vec<f32>>) {
    let (optimizer, shape) = (optimizer_params(), tiny_shape());
    let phases = phases();
    let recipe = Recipe {
        shape: &shape,
        tokens: STEPS * rows * CONTEXT,
        optimizer: &optimizer,
        batch: BatchParams {
            global_tokens: AutoOr::Value(rows * CONTEXT),
            micro_batch: AutoOr::Value(micro),
        },
        phases: &phases,
        rows: RowShape { context_length: CONTEXT, packing: Packing::Concat, document_mask: false },
        extend: None,
        max_epochs: None,
        precision: Precision::Fp32,
        micro_batch_halvings: 0,
        ranks: 1,
        init_seed: 5,
        order_seed: 6,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let ctx = context(folder, stop.clone());
    let mut run = LanguageRun::new(&recipe, data, Device::Cpu).unwrap();
    run.evaluate_with(Box::new(move |_, done, curves| {
        curves.push("seen", done, done as f64);
        stop.store(stop_at == Some(done), Ordering::SeqCst);
        Ok(())
    }));
    let outcome = train(&ctx, &plan_of(&run, every_steps), &mut run);
    (outcome, weights_of(&run.network))
}

/// How a run trains that saves so often.
pub(super) fn plan_of(run: &LanguageRun, every_steps: u64) -> TrainPlan {
    TrainPlan {
        steps: run.steps,
        optimizer: run.settings.clone(),
        schedule: run.schedule.clone(),
        grad_clip: 0.5,
        setbacks: SetbackLimits::of(&optimizer_params()),
        checkpoint: CheckpointParams { every_secs: 0.0, every_steps, keep: 2, keep_best: None },
        export: None,
        stage: "train".into(),
    }
}

/// A network's weights, one after the other.
pub(super) fn weights_of(network: &Network) -> Vec<Vec<f32>> {
    let weights = network.parameters().iter();
    weights.map(|p| Vec::try_from(p.tensor.detach().view([-1])).unwrap()).collect()
}

pub(super) fn bits(weights: &[Vec<f32>]) -> Vec<u32> {
    weights.iter().flatten().map(|weight| weight.to_bits()).collect()
}

#[test]
fn a_stopped_run_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    write_tokens(folder.path());
    let data = TokenData::train(folder.path()).unwrap();
    let whole = tempfile::tempdir().unwrap();
    let (wanted, weights) = run(whole.path(), &data, (2, 0), None);
    let wanted = wanted.unwrap();
    assert_eq!((wanted.steps, wanted.data_cursor), (STEPS, 4 * STEPS));
    for stop_at in [1, 4, 7] {
        let broken = tempfile::tempdir().unwrap();
        let (stopped, _) = run(broken.path(), &data, (2, 2), Some(stop_at));
        assert!(matches!(stopped, Err(TrainError::Job(JobError::Cancelled))), "{stopped:?}");
        let (resumed, again) = run(broken.path(), &data, (2, 0), None);
        assert_eq!(resumed.unwrap(), wanted, "stopped after {stop_at}");
        assert_eq!(bits(&again), bits(&weights), "stopped after {stop_at}");
    }
}

#[test]
fn damaged_checkpoints_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    write_tokens(folder.path());
    let data = TokenData::train(folder.path()).unwrap();
    let (wanted, weights) = run(folder.path(), &data, (2, 3), None);
    let states = folder.path().join("checkpoints");
    let kept = std::fs::read_dir(&states).unwrap().count();
    assert_eq!(kept, 4, "two states with a record each");
    let is_newest = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_state = path.extension().is_some_and(|extension| extension == "safetensors");
        name.starts_with(&format!("step-{STEPS:012}-")) && is_state
    };
    let paths = std::fs::read_dir(&states).unwrap().map(|entry| entry.unwrap().path());
    let newest = paths.collect::<Vec<_>>().into_iter().find(is_newest).unwrap();
    let bytes = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(states.join("step-000000000099.json.partial"), b"{").unwrap();
    std::fs::write(states.join("step-000000000099.json"), b"{\"step\": 99").unwrap();
    let (resumed, again) = run(folder.path(), &data, (2, 0), None);
    assert_eq!(resumed.unwrap(), wanted.unwrap());
    assert_eq!(bits(&again), bits(&weights));
}

#[test]
fn accumulation_of_eight_rows_changes_rounding_only() {
    let folder = tempfile::tempdir().unwrap();
    write_tokens(folder.path());
    let data = TokenData::train(folder.path()).unwrap();
    let of = |micro: u64| {
        let own = tempfile::tempdir().unwrap();
        let (outcome, weights) = run_of(own.path(), &data, (8, micro, 0), None);
        (outcome.unwrap().curves.last("loss").unwrap(), weights)
    };
    let (at_once, whole) = of(8);
    assert!(at_once < (31f64).ln() - 0.1, "nothing was learnt: {at_once}");
    for micro in [1, 2, 4] {
        let (loss, weights) = of(micro);
        assert!((loss - at_once).abs() < 1e-4, "{loss} and {at_once}");
        let norm = |values: &mut dyn Iterator<Item = f32>| {
            values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
        };
        let pairs = weights.iter().flatten().zip(whole.iter().flatten());
        // In proportion to their size, after nine steps of Muon, which makes much of small differences.
        let apart = norm(&mut pairs.map(|(a, b)| a - b)) / norm(&mut whole.iter().flatten().copied());
        println!(
            "8 rows in micro-batches of {micro}: weights {apart:.1e} of their size apart, loss {:.1e}",
            (loss - at_once).abs()
        );
        assert!(apart < 2e-5, "micro-batches of {micro}: {apart:e}");
        // Cut the same way, the bits are the same.
        assert_eq!(bits(&weights), bits(&of(micro).1));
    }
}

/// A line through noisy points, with steps whose loss is no number.
struct Line {
    weights: Tensor,
    bad: BTreeSet<u64>,
    stop_at: Option<(u64, Arc<AtomicBool>)>,
}

impl Objective for Line {
    fn parameters(&self) -> Vec<Parameter> {
        let tensor = self.weights.shallow_clone();
        vec![Parameter { name: "line".into(), tensor, group: ParamGroup::Vector }]
    }

    fn micro_batches(&self, _step: u64) -> u64 {
        2
    }

    fn loss(&mut self, step: u64, micro: u64) -> Result<StepLoss, TrainError> {
        let at = (step * 2 + micro) as f32;
        let (x, y) = ((0.37 * at).sin(), (1.7 * at).cos());
        let residual = self.weights.get(0) * f64::from(x) + self.weights.get(1) - f64::from(y);
        let is_bad = micro == 1 && self.bad.contains(&step);
        let loss = residual.square() / 2.0 * if is_bad { f64::NAN } else { 1.0 };
        Ok(StepLoss { loss, auxiliary: None, tokens: 1, metrics: Vec::new(), data_secs: 0.0 })
    }

    fn row_names(&mut self, step: u64, micro: u64) -> Vec<String> {
        vec![format!("point {}", step * 2 + micro)]
    }

    fn after_step(&mut self, done: u64, _curves: &mut Curves) -> Result<(), TrainError> {
        if let Some((at, stop)) = &self.stop_at {
            stop.store(*at == done, Ordering::SeqCst);
        }
        Ok(())
    }

    fn data_cursor(&self, done: u64) -> u64 {
        2 * done
    }
}

/// Fits the line in one attempt.
fn fit(
    folder: &Path,
    bad: &BTreeSet<u64>,
    (every_steps, max_setbacks): (u64, u64),
    stop_at: Option<u64>,
) -> (Result<TrainOutcome, TrainError>, Vec<u32>) {
    let stop = Arc::new(AtomicBool::new(false));
    let ctx = context(folder, stop.clone());
    let weights = Tensor::from_slice(&[0.5f32, -0.5]).set_requires_grad(true);
    let mut line = Line { weights, bad: bad.clone(), stop_at: stop_at.map(|at| (at, stop)) };
    let plan = TrainPlan {
        steps: 120,
        optimizer: OptimizerSettings {
            lr: 0.05,
            ema: Some(EmaParams { decay: 0.8, every_steps: 3 }),
            ..OptimizerSettings::default()
        },
        schedule: LrSchedule::new(120, Span::Share(0.1), &[PhaseRate::TO_ZERO]),
        grad_clip: 1.0,
        setbacks: SetbackLimits { max_setbacks, spike_sigma: 0.0 },
        checkpoint: CheckpointParams { every_secs: 0.0, every_steps, keep: 2, keep_best: None },
        export: None,
        stage: "fit".into(),
    };
    let outcome = train(&ctx, &plan, &mut line);
    let weights = Vec::<f32>::try_from(line.weights.detach()).unwrap();
    (outcome, weights.into_iter().map(f32::to_bits).collect())
}

/// Fits the line in as many attempts as it takes; the first is stopped after some steps.
fn fit_to_the_end(
    bad: &BTreeSet<u64>,
    every_steps: u64,
    mut stop_at: Option<u64>,
) -> (TrainOutcome, Vec<u32>, u64) {
    let folder = tempfile::tempdir().unwrap();
    for attempt in 1..10 {
        match fit(folder.path(), bad, (every_steps, 8), stop_at.take()) {
            (Ok(outcome), weights) => return (outcome, weights, attempt),
            (Err(TrainError::WentBack { .. } | TrainError::Job(JobError::Cancelled)), _) => {}
            (Err(error), _) => panic!("{error}"),
        }
    }
    panic!("no end in ten attempts")
}

#[test]
fn a_bad_step_leaves_the_weights_alone_and_is_recorded() {
    let good = fit_to_the_end(&BTreeSet::new(), 0, None);
    let (outcome, weights, attempts) = fit_to_the_end(&BTreeSet::from([50, 119]), 0, None);
    let first = BadStep {
        step: 50,
        reason: "the loss is NaN".into(),
        micro_batch: Some(1),
        num_rows: 1,
        rows: vec!["point 101".into()],
    };
    assert_eq!((&outcome.bad_steps[0], outcome.bad_steps.len()), (&first, 2));
    assert_eq!((outcome.left_out, attempts), (vec![50, 119], 1));
    assert_eq!((outcome.tokens, outcome.warnings["setback"]), (2 * 118, 2));
    assert_ne!(weights, good.1);
    assert_eq!(good.0.warnings, BTreeMap::new());
}

#[test]
fn a_run_that_goes_back_ends_with_the_same_bits_whenever_it_saved_and_whenever_it_was_stopped() {
    // One alone, then three in a row: back from 102 to 64.
    let bad = BTreeSet::from([40, 100, 101, 102]);
    let (wanted, weights, attempts) = fit_to_the_end(&bad, 0, None);
    assert_eq!(wanted.left_out, [40].into_iter().chain(64..=102).collect::<Vec<_>>());
    assert_eq!((attempts, wanted.warnings["setback"]), (2, 4));
    for every_steps in [1, 7, 30] {
        for stop_at in [None, Some(20), Some(41), Some(64), Some(90), Some(101), Some(110)] {
            let (outcome, again, _) = fit_to_the_end(&bad, every_steps, stop_at);
            assert_eq!(
                (&outcome, &again),
                (&wanted, &weights),
                "every {every_steps}, stopped at {stop_at:?}"
            );
        }
    }
}

#[test]
fn a_run_with_more_setbacks_than_it_may_have_fails() {
    let bad = BTreeSet::from([10, 20, 30]);
    let folder = tempfile::tempdir().unwrap();
    let failed = fit(folder.path(), &bad, (0, 2), None).0;
    assert!(matches!(failed, Err(TrainError::NotFinite { step: 30, .. })), "{failed:?}");
    let text = std::fs::read(folder.path().join("checkpoints/bad_steps.json")).unwrap();
    let recorded: Vec<BadStep> = serde_json::from_slice(&text).unwrap();
    assert_eq!(recorded.iter().map(|bad| bad.step).collect::<Vec<_>>(), [10, 20, 30]);
    let at_once = fit(tempfile::tempdir().unwrap().path(), &bad, (0, 0), None).0;
    assert!(matches!(at_once, Err(TrainError::NotFinite { step: 10, .. })), "{at_once:?}");
}
