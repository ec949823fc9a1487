//! Optimisers against PyTorch's, step by step and over whole runs, and how rates transfer from width to width.
//!
//! The fixtures in `runtime/tests/fixtures/train/` are made by the script beside them. The largest deviations that were measured stand at the limits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cupola_specs::job::{
    CheckpointParams, DecayShape, EmaParams, Family, LrShape, MatrixOptimizer, ModelShape, MomentumWarmup,
    Orthogonalization, OtherOptimizer, Parametrization, Precision, Span,
};
use tch::{Device, Kind, Tensor};

use super::{Optimizer, OptimizerSettings, Pace, Scaling};
use crate::model::{Network, ParamGroup, Parameter, RowLayout, cross_entropy, depth_shape};
use crate::train::tests::context;
use crate::train::{
    Curves, LrSchedule, Objective, PhaseRate, SetbackLimits, StepLoss, TrainError, TrainPlan,
    losses_with_normalizer, train,
};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/train")
}

#[derive(serde::Deserialize)]
struct Steps {
    lr: f64,
    weight_decay: f64,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    rows: i64,
    columns: i64,
    weight: Vec<f32>,
    gradients: Vec<Vec<f32>>,
    ends: BTreeMap<String, Vec<f32>>,
}

/// The settings that a case of the fixture stands for, and the limit.
fn settings_of(name: &str, reference: &Steps) -> (OptimizerSettings, f64) {
    let plain = OptimizerSettings {
        matrix_lr: reference.lr,
        weight_decay: reference.weight_decay,
        ..OptimizerSettings::default()
    };
    let muon = OptimizerSettings { matrices: MatrixOptimizer::Muon, ..plain.clone() };
    let sgd = OptimizerSettings { matrices: MatrixOptimizer::Sgd, ..plain.clone() };
    match name {
        "adamw" => (plain, 1e-6),
        "polar_express" => (muon, 1e-6),
        "newton_schulz" => {
            (OptimizerSettings { orthogonalization: Orthogonalization::NewtonSchulz, ..muon }, 1e-6)
        }
        "heavy_ball_muon" => (OptimizerSettings { nesterov: false, ..muon }, 1e-6),
        "sgd" => (sgd, 1e-6),
        "heavy_ball" => (OptimizerSettings { nesterov: false, ..sgd }, 1e-6),
        _ => panic!("{name} is no case"),
    }
}

#[test]
fn each_optimizer_steps_as_its_reference() {
    let text = std::fs::read(fixtures().join("optimizers.json")).unwrap();
    let reference: Steps = serde_json::from_slice(&text).unwrap();
    for case in &reference.cases {
        assert_eq!(case.ends.len(), 6);
        for (name, wanted) in &case.ends {
            let (settings, limit) = settings_of(name, &reference);
            let tensor =
                Tensor::from_slice(&case.weight).view([case.rows, case.columns]).set_requires_grad(true);
            let handle = tensor.shallow_clone();
            let parameter = Parameter { name: "w".into(), tensor, group: ParamGroup::Matrix };
            let mut optimizer = Optimizer::new(vec![parameter], settings);
            for gradient in &case.gradients {
                (&handle * Tensor::from_slice(gradient).view_as(&handle)).sum(Kind::Float).backward();
                optimizer.step(Pace::PEAK, 1.0).unwrap();
            }
            let wanted = Tensor::from_slice(wanted).view_as(&handle);
            let far = (handle.detach() - wanted).abs().max().double_value(&[]);
            println!("{name} {}×{}: {far:.1e}", case.rows, case.columns);
            // Measured: 1.2e-7.
            assert!(far < limit, "{name} {}×{}: {far:e}", case.rows, case.columns);
        }
    }
}

#[derive(serde::Deserialize)]
struct Runs {
    vocab: i64,
    context: i64,
    rows: i64,
    #[serde(rename = "runs")]
    by_name: BTreeMap<String, Run>,
}

#[derive(serde::Deserialize)]
struct Run {
    losses: Vec<f64>,
    norms: Vec<f64>,
    /// Norm of each weight's gradient at the first step.
    first: BTreeMap<String, f64>,
    held_out: f64,
}

/// Next-token prediction on the batches of the fixture's script.
struct Follow<'a> {
    network: Network,
    reference: &'a Runs,
    z_loss: f64,
}

impl Follow<'_> {
    /// Inputs and targets, `[B, T]`.
    fn batch(&self, step: i64) -> (Tensor, Tensor) {
        let Runs { vocab, context, rows, .. } = *self.reference;
        let mut ids = Vec::new();
        for row in 0..rows {
            let (mut state, mut last) = (step * rows + row + 1, None);
            for _ in 0..=context {
                state = (state * 1_103_515_245 + 12_345) % (1 << 31);
                let noise = state >> 16;
                let id = last.map_or(noise, |last: i64| last * 3 + noise % 3) % vocab;
                ids.push(id);
                last = Some(id);
            }
        }
        let ids = Tensor::from_slice(&ids).view([rows, context + 1]);
        (ids.narrow(1, 0, context).contiguous(), ids.narrow(1, 1, context).contiguous())
    }

    /// Loss and log² Z of a step's batch, on average.
    fn losses(&self, step: i64) -> (Tensor, Tensor) {
        let (tokens, targets) = self.batch(step);
        if self.z_loss == 0.0 {
            let losses = cross_entropy(&self.network, &tokens, &targets, &RowLayout::Causal, Precision::Fp32);
            let mean = losses.mean(Kind::Float);
            let none = mean.zeros_like();
            return (mean, none);
        }
        let (losses, log_z) =
            losses_with_normalizer(&self.network, &tokens, &targets, &RowLayout::Causal, Precision::Fp32);
        (losses.mean(Kind::Float), log_z.square().mean(Kind::Float))
    }
}

impl Follow<'_> {
    /// Each weight's gradient at the first step is as large as the reference's.
    fn check_first_gradient(&self, run: &Run) {
        let (loss, square) = self.losses(0);
        (loss + square * self.z_loss).backward();
        for mut weight in self.parameters() {
            let norm = weight.tensor.grad().norm().double_value(&[]);
            let wanted = run.first[&weight.name];
            assert!((norm / wanted - 1.0).abs() < 1e-5, "{}: {norm} instead of {wanted}", weight.name);
            weight.tensor.zero_grad();
        }
    }
}

impl Objective for Follow<'_> {
    fn parameters(&self) -> Vec<Parameter> {
        self.network.parameters().iter().map(Parameter::handle).collect()
    }

    fn micro_batches(&self, _step: u64) -> u64 {
        1
    }

    fn loss(&mut self, step: u64, _micro: u64) -> Result<StepLoss, TrainError> {
        let (loss, square) = self.losses(step as i64);
        let auxiliary = (self.z_loss > 0.0).then(|| square * self.z_loss);
        Ok(StepLoss { loss, auxiliary, tokens: 64, metrics: Vec::new(), data_secs: 0.0 })
    }

    fn row_names(&mut self, _step: u64, _micro: u64) -> Vec<String> {
        Vec::new()
    }

    fn after_step(&mut self, _done: u64, _curves: &mut Curves) -> Result<(), TrainError> {
        Ok(())
    }

    fn data_cursor(&self, done: u64) -> u64 {
        done
    }
}

/// The settings and the schedule of a run of the fixture.
fn plan_of(name: &str, steps: u64) -> (OptimizerSettings, LrSchedule) {
    let decayed = OptimizerSettings { weight_decay: 0.1, ..OptimizerSettings::default() };
    let (matrices, others) = (MatrixOptimizer::Sgd, OtherOptimizer::Sgd);
    let sgd = OptimizerSettings { matrices, others, lr: 0.1, matrix_lr: 0.1, ..decayed.clone() };
    let rate = |until, shape, last| PhaseRate { until, shape, last };
    let schedule = |warmup, phases: &[PhaseRate]| LrSchedule::new(steps, Span::Steps(warmup), phases);
    let rising = schedule(10, &[rate(1.0, LrShape::Constant, 0.0)]);
    match name {
        "adamw" => {
            let adamw = OptimizerSettings { lr: 0.005, matrix_lr: 0.005, ..decayed };
            (adamw, schedule(20, &[rate(1.0, LrShape::Cosine, 0.1)]))
        }
        "muon" => {
            let muon = OptimizerSettings {
                matrices: MatrixOptimizer::Muon,
                lr: 0.01,
                matrix_lr: 0.02,
                weight_decay_schedule: DecayShape::Linear,
                weight_decay_final: 0.0,
                momentum_warmup: MomentumWarmup { from: 0.85, steps: 30 },
                ..decayed
            };
            let wsd = [rate(0.5, LrShape::Constant, 0.0), rate(1.0, LrShape::OneMinusSqrt, 0.0)];
            (muon, schedule(5, &wsd))
        }
        "ema" => {
            let ema = Some(EmaParams { decay: 0.9, every_steps: 3 });
            (OptimizerSettings { ema, ..sgd }, rising)
        }
        "sgd" | "z_loss" => (sgd, rising),
        _ => panic!("{name} is no run"),
    }
}

#[test]
fn whole_runs_have_pytorchs_losses_at_every_step() {
    let text = std::fs::read(fixtures().join("runs.json")).unwrap();
    let reference: Runs = serde_json::from_slice(&text).unwrap();
    assert_eq!(reference.by_name.len(), 5);
    let mut wrong = Vec::new();
    for (name, run) in &reference.by_name {
        let network = Network::load(&fixtures().join("llama"), Device::Cpu).unwrap();
        let z_loss = if name == "z_loss" { 0.01 } else { 0.0 };
        let mut follow = Follow { network, reference: &reference, z_loss };
        follow.check_first_gradient(run);
        let (optimizer, schedule) = plan_of(name, run.losses.len() as u64);
        let plan = TrainPlan {
            steps: run.losses.len() as u64,
            optimizer,
            schedule,
            grad_clip: 0.5,
            setbacks: SetbackLimits { max_setbacks: 0, spike_sigma: 0.0 },
            checkpoint: CheckpointParams { every_secs: 0.0, every_steps: 0, keep: 1, keep_best: None },
            export: None,
            stage: "follow".into(),
        };
        let folder = tempfile::tempdir().unwrap();
        let ctx = context(folder.path(), Arc::new(AtomicBool::new(false)));
        let outcome = train(&ctx, &plan, &mut follow).unwrap();
        let farthest = |curve: &str, wanted: &[f64]| {
            let got = &outcome.curves.0[curve];
            assert_eq!(got.len(), wanted.len(), "{name}");
            let far = got.iter().zip(wanted).map(|(got, wanted)| (got.value - wanted).abs());
            far.enumerate().fold((0, 0.0), |most, (step, far)| if far > most.1 { (step, far) } else { most })
        };
        let ((at, loss), (_, norm)) = (farthest("loss", &run.losses), farthest("grad_norm", &run.norms));
        let end = (follow.losses(10_000).0.double_value(&[]) - run.held_out).abs();
        let steps = run.losses.len();
        println!("{name}: losses {loss:.1e} (step {at} of {steps}), norms {norm:.1e}, held out {end:.1e}");
        // Measured: losses within 9.5e-7, norms within 1.1e-6, held out within 1.2e-7.
        if !(loss < 1e-5 && norm < 1e-5 && end < 1e-5) {
            wrong.push(format!("{name}: {loss:e} at step {at}, {norm:e}, {end:e}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn an_average_is_of_updates_and_takes_the_weights_place_at_the_end() {
    let settings = OptimizerSettings {
        matrices: MatrixOptimizer::Sgd,
        matrix_lr: 1.0,
        momentum: 0.0,
        nesterov: false,
        ema: Some(EmaParams { decay: 0.5, every_steps: 2 }),
        ..OptimizerSettings::default()
    };
    // Each step takes one away; the average is -2 after two, and -3 after four.
    for (steps, end) in [(1, -1.0), (2, -2.0), (3, -2.0), (4, -3.0)] {
        let tensor = Tensor::zeros([1, 1], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let handle = tensor.shallow_clone();
        let parameter = Parameter { name: "w".into(), tensor, group: ParamGroup::Matrix };
        let mut optimizer = Optimizer::new(vec![parameter], settings.clone());
        for _ in 0..steps {
            // A step that is left out: its gradient is forgotten, and nothing else happens.
            handle.sum(Kind::Float).backward();
            optimizer.zero_grad();
            handle.sum(Kind::Float).backward();
            optimizer.step(Pace::PEAK, 1.0).unwrap();
        }
        assert_eq!(
            (optimizer.steps(), handle.double_value(&[0, 0])),
            (steps, -(steps as f64)),
            "{steps} steps"
        );
        let names: Vec<String> = optimizer.state().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["weight/w", "first/w", "ema/w"]);
        let state = optimizer.state();
        optimizer.finish(&state);
        assert!((handle.double_value(&[0, 0]) - end).abs() < 1e-6, "{steps} steps");
    }
}

/// Root mean squares after some AdamW steps on one batch: of the logits, and of what changed in the last hidden state.
fn coordinates((width, depth): (u64, u64), parametrization: Parametrization) -> (f64, f64) {
    const VOCAB: i64 = 64;
    let shape = ModelShape {
        hidden_size: width,
        intermediate_size: 2 * width,
        num_attention_heads: width / 32,
        num_key_value_heads: width / 32,
        ..depth_shape(Family::Transformer, depth, 16)
    };
    let network = Network::init(&shape, VOCAB, 3, Device::Cpu).unwrap();
    let scaling = Scaling { parametrization, width: width as f64 / 64.0, depth: depth as f64 / 2.0 };
    let settings = OptimizerSettings { lr: 0.01, matrix_lr: 0.01, scaling, ..OptimizerSettings::default() };
    let parameters = network.parameters().iter().map(Parameter::handle).collect();
    let mut optimizer = Optimizer::new(parameters, settings);
    let tokens = (Tensor::arange(8 * 16, (Kind::Int64, Device::Cpu)) * 37).remainder(VOCAB).view([8, 16]);
    let targets = (&tokens * 5 + 1i64).remainder(VOCAB);
    let hidden = || tch::no_grad(|| network.hidden(&tokens, &RowLayout::Causal, Precision::Fp32));
    let size = |tensor: Tensor| tensor.square().mean(Kind::Float).sqrt().double_value(&[]);
    let before = hidden();
    for _ in 0..6 {
        cross_entropy(&network, &tokens, &targets, &RowLayout::Causal, Precision::Fp32)
            .mean(Kind::Float)
            .backward();
        optimizer.step(Pace::PEAK, 1.0).unwrap();
    }
    let after = hidden();
    (size(tch::no_grad(|| network.logits(&after))), size(after - before))
}

/// The largest of each coordinate by the smallest, over some sizes.
fn spread(sizes: &[(u64, u64)], parametrization: Parametrization) -> (f64, f64) {
    let found: Vec<(f64, f64)> = sizes.iter().map(|&size| coordinates(size, parametrization)).collect();
    println!("{parametrization:?}: {found:.3?}");
    let ratio = |of: fn(&(f64, f64)) -> f64| {
        let values = found.iter().map(of);
        values.clone().fold(0.0, f64::max) / values.fold(f64::INFINITY, f64::min)
    };
    (ratio(|one| one.0), ratio(|one| one.1))
}

#[test]
fn activations_move_alike_at_every_width_and_depth() {
    let widths = [(64, 2), (128, 2), (256, 2), (512, 2)];
    let depths = [(64, 2), (64, 4), (64, 8), (64, 16)];
    let mup = spread(&widths, Parametrization::Mup);
    let standard = spread(&widths, Parametrization::Standard);
    let completep = spread(&depths, Parametrization::Completep);
    let mup_in_depth = spread(&depths, Parametrization::Mup);
    println!("{mup:.2?} {standard:.2?} {completep:.2?} {mup_in_depth:.2?}");
    assert!(mup.0 < 1.5 && mup.1 < 1.5, "{mup:?}");
    assert!(standard.0 > 2.0 * mup.0, "{standard:?}");
    assert!(completep.0 < 1.5 && completep.1 < 1.5, "{completep:?}");
    assert!(mup_in_depth.1 > completep.1, "{mup_in_depth:?}");
}
