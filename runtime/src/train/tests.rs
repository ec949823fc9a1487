//! Optimisers against PyTorch's, and runs against themselves: stopped, damaged, resumed, accumulated otherwise.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cupola_specs::artifact::{TokenIndex, TokenShard};
use cupola_specs::contract::JobFile;
use cupola_specs::job::{
    AutoOr, BatchParams, CheckpointParams, Device as JobDevice, Family, LrShape, MatrixOptimizer, ModelShape,
    OptimizerParams, PhaseParams, Precision, StepParams, TokensParams,
};
use tch::{Device, Kind, Tensor};

use super::{
    LanguageRun, MixtureOrder, MixturePhase, Optimizer, OptimizerSettings, Recipe, TokenData, TrainError,
    TrainOutcome, TrainPlan, train,
};
use crate::job::{JobError, StepContext};
use crate::model::{ParamGroup, Parameter, depth_shape};

const CONTEXT: u64 = 8;
const STEPS: u64 = 9;

#[derive(serde::Deserialize)]
struct Reference {
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
    adamw: Vec<f32>,
    muon: Vec<f32>,
}

#[test]
fn optimizers_equal_pytorchs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/train/optimizers.json");
    let reference: Reference = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for case in &reference.cases {
        for (matrices, wanted, limit) in
            [(MatrixOptimizer::Adamw, &case.adamw, 1e-6), (MatrixOptimizer::Muon, &case.muon, 1e-5)]
        {
            let settings = OptimizerSettings {
                matrices,
                lr: reference.lr,
                matrix_lr: reference.lr,
                embedding_factor: 1.0,
                weight_decay: reference.weight_decay,
                betas: [0.9, 0.95],
                eps: 1e-8,
                precision: Precision::Fp32,
            };
            let tensor =
                Tensor::from_slice(&case.weight).view([case.rows, case.columns]).set_requires_grad(true);
            let handle = tensor.shallow_clone();
            let parameter = Parameter { name: "w".into(), tensor, group: ParamGroup::Matrix };
            let mut optimizer = Optimizer::new(vec![parameter], settings);
            for gradient in &case.gradients {
                (&handle * Tensor::from_slice(gradient).view_as(&handle)).sum(Kind::Float).backward();
                optimizer.step(1.0, 1.0);
            }
            let wanted = Tensor::from_slice(wanted).view_as(&handle);
            let far = (handle.detach() - wanted).abs().max().double_value(&[]);
            assert!(far < limit, "{matrices:?} {}×{}: {far:e}", case.rows, case.columns);
        }
    }
}

/// Two domains of patterned tokens, of different lengths.
fn write_tokens(folder: &Path) {
    let mut train = BTreeMap::new();
    for (domain, count) in [("code", 400u64), ("docs", 170)] {
        let ids: Vec<u8> = (0..count).flat_map(|i| ((i * i + 3 * i) as u16 % 31).to_le_bytes()).collect();
        let file = format!("{domain}.bin");
        std::fs::write(folder.join(&file), ids).unwrap();
        let shard = TokenShard { file, num_tokens: count, num_documents: 1, num_bytes: 3 * count };
        train.insert(domain.to_owned(), shard);
    }
    let index = TokenIndex {
        vocab_size: 31,
        id_bytes: 2,
        bos_token_id: 0,
        domain_weights: BTreeMap::new(),
        validation: train.clone(),
        train,
        tokenizer_fingerprint: "t".into(),
    };
    std::fs::write(folder.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
}

fn context(folder: &Path, stop: Arc<AtomicBool>) -> StepContext {
    let job = JobFile {
        version: 1,
        run: "run".into(),
        step: "base".into(),
        token: "1.1".into(),
        fingerprint: String::new(),
        params: StepParams::Tokens(TokensParams {}),
        inputs: BTreeMap::new(),
        sources: folder.join("sources.jsonl"),
        staging: folder.join("staging"),
        checkpoints: folder.join("checkpoints"),
        events: folder.join("events.jsonl"),
        seed: 1,
        device: JobDevice::Cpu,
        threads: 1,
    };
    StepContext::new(job, stop).unwrap()
}

fn phases() -> Vec<PhaseParams> {
    let weights = |code: f64| BTreeMap::from([("code".to_owned(), code), ("docs".to_owned(), 1.0 - code)]);
    vec![
        PhaseParams { until: 0.6, weights: weights(0.75), lr: LrShape::Constant },
        PhaseParams { until: 1.0, weights: weights(0.5), lr: LrShape::LinearToZero },
    ]
}

/// Trains the tiny run in `folder`; asked to stop after `stop_at` steps.
fn run(
    folder: &Path,
    data: &TokenData,
    (micro, every_steps): (u64, u64),
    stop_at: Option<u64>,
) -> (Result<TrainOutcome, TrainError>, Vec<Vec<f32>>) {
    let optimizer = OptimizerParams {
        matrices: MatrixOptimizer::Muon,
        lr: AutoOr::Value(0.003),
        matrix_lr: AutoOr::Value(0.02),
        weight_decay: 0.01,
        betas: [0.9, 0.95],
        eps: 1e-8,
        grad_clip: 0.5,
        warmup: 0.2,
    };
    let shape = ModelShape {
        hidden_size: 16,
        intermediate_size: 32,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        ..depth_shape(Family::Transformer, 2, CONTEXT)
    };
    let phases = phases();
    let recipe = Recipe {
        shape: &shape,
        tokens: STEPS * 4 * CONTEXT,
        optimizer: &optimizer,
        batch: BatchParams { global_tokens: AutoOr::Value(4 * CONTEXT), micro_batch: AutoOr::Value(micro) },
        phases: &phases,
        context_length: CONTEXT,
        precision: Precision::Fp32,
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
    let plan = TrainPlan {
        steps: run.steps,
        optimizer: run.settings.clone(),
        schedule: run.schedule.clone(),
        grad_clip: 0.5,
        checkpoint: CheckpointParams { every_secs: 0.0, every_steps, keep: 2 },
        stage: "train".into(),
    };
    let outcome = train(&ctx, &plan, &mut run);
    let weights = run.network.parameters().iter();
    let weights = weights.map(|p| Vec::try_from(p.tensor.detach().view([-1])).unwrap()).collect();
    (outcome, weights)
}

fn bits(weights: &[Vec<f32>]) -> Vec<u32> {
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
    let newest = states.join(format!("step-{STEPS:012}.safetensors"));
    let bytes = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(states.join("step-000000000099.json.partial"), b"{").unwrap();
    std::fs::write(states.join("step-000000000099.json"), b"{\"step\": 99").unwrap();
    let (resumed, again) = run(folder.path(), &data, (2, 0), None);
    assert_eq!(resumed.unwrap(), wanted.unwrap());
    assert_eq!(bits(&again), bits(&weights));
}

#[test]
fn accumulation_changes_rounding_only() {
    let folder = tempfile::tempdir().unwrap();
    write_tokens(folder.path());
    let data = TokenData::train(folder.path()).unwrap();
    let last = |micro: u64| {
        let own = tempfile::tempdir().unwrap();
        let (outcome, _) = run(own.path(), &data, (micro, 0), None);
        outcome.unwrap().curves.last("loss").unwrap()
    };
    let at_once = last(4);
    assert!(at_once < (31f64).ln() - 0.1, "nothing was learnt: {at_once}");
    for micro in [1, 2] {
        assert!((last(micro) - at_once).abs() < 1e-4, "{} and {at_once}", last(micro));
    }
}

#[test]
fn the_order_holds_the_mixture_and_seeks() {
    let folder = tempfile::tempdir().unwrap();
    write_tokens(folder.path());
    let data = TokenData::train(folder.path()).unwrap();
    let weights = BTreeMap::from([("code".to_owned(), 0.75), ("docs".to_owned(), 0.25)]);
    let order = MixtureOrder::new(&data, CONTEXT, &[MixturePhase { end_row: 9000, weights }], 3).unwrap();
    let rows = order.range(0, 9000);
    for at in [0, 1, 4095, 4096, 8999] {
        assert_eq!(order.at(at), rows[at as usize]);
    }
    for prefix in [4, 40, 400, 9000] {
        let code = rows[..prefix].iter().filter(|(domain, _)| *domain == 0).count() as f64;
        assert!((code - 0.75 * prefix as f64).abs() <= 1.0, "{code} of {prefix}");
    }
    let size = data.num_rows(0, CONTEXT);
    let mut first_epoch: Vec<u64> =
        rows.iter().filter(|row| row.0 == 0).take(size as usize).map(|row| row.1).collect();
    first_epoch.sort_unstable();
    assert_eq!(first_epoch, (0..size).collect::<Vec<_>>());
    let absent = BTreeMap::from([("poems".to_owned(), 1.0)]);
    let refused = MixtureOrder::new(&data, CONTEXT, &[MixturePhase { end_row: 4, weights: absent }], 3);
    assert!(refused.unwrap_err().to_string().contains("poems"));
}
