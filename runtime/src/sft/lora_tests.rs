//! Fine-tuning with adapters: what learns, what stays, what a checkpoint holds, and a run that was stopped.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cupola_specs::contract::{InputArtifact, JobFile};
use cupola_specs::job::{
    AdapterParams, CheckpointParams, Family, LoraConfig, LoraParams, LoraTarget, MatrixOptimizer,
    OptimizerParams, Precision, Recompute, RuleOr, Span,
};
use tch::{Device, Kind, Tensor};

use super::stage::{Chosen, StageRules, prepare, stage_plan, stage_rates};
use super::{ItemSchedule, PassOrder, SftObjective};
use crate::job::StepContext;
use crate::job::sample::job_in;
use crate::model::{Network, Parameter, depth_shape};
use crate::tokenizer::EncodedChat;
use crate::train::{Curves, Objective, StepLoss, TrainError, TrainOutcome, train};

const RULES: StageRules = StageRules { stage: "sft", lr: 1e-3, matrix_lr: 5e-3, global_tokens: 64 };
const STEPS: u64 = 40;

/// Fine-tuning that asks to stop after some step.
struct Stopping<'a> {
    inner: SftObjective<'a>,
    stop: Arc<AtomicBool>,
    stop_at: Option<u64>,
}

impl Objective for Stopping<'_> {
    fn parameters(&self) -> Vec<Parameter> {
        self.inner.parameters()
    }

    fn micro_batches(&self, step: u64) -> u64 {
        self.inner.micro_batches(step)
    }

    fn loss(&mut self, step: u64, micro: u64) -> Result<StepLoss, TrainError> {
        self.inner.loss(step, micro)
    }

    fn row_names(&mut self, step: u64, micro: u64) -> Vec<String> {
        self.inner.row_names(step, micro)
    }

    fn after_step(&mut self, done: u64, curves: &mut Curves) -> Result<(), TrainError> {
        self.stop.store(self.stop_at == Some(done), Ordering::SeqCst);
        self.inner.after_step(done, curves)
    }

    fn data_cursor(&self, done: u64) -> u64 {
        self.inner.data_cursor(done)
    }
}

/// Answers that follow from their questions.
fn chats() -> Vec<EncodedChat> {
    let chat = |seed: u32| EncodedChat {
        ids: (0..16)
            .map(|t| if t < 8 { (seed * 7 + t * 3) % 32 } else { 32 + (seed * 7 + (t - 8) * 3) % 32 })
            .collect(),
        trained: (0..16).map(|t| t >= 8).collect(),
    };
    (0..12).map(chat).collect()
}

fn lora(dropout: f64) -> LoraParams {
    let targets = vec![LoraTarget::AllLinear];
    LoraParams::Fresh(LoraConfig { rank: 4, alpha: 8.0, use_rslora: false, targets, dropout })
}

/// Trains in `folder` on a fresh network: what it ended with.
fn run(
    folder: &Path,
    lora: Option<&LoraParams>,
    stop_at: Option<u64>,
) -> (Result<TrainOutcome, TrainError>, Network) {
    run_by(job_in(folder), lora, stop_at)
}

fn run_by(
    job: JobFile,
    lora: Option<&LoraParams>,
    stop_at: Option<u64>,
) -> (Result<TrainOutcome, TrainError>, Network) {
    let stop = Arc::new(AtomicBool::new(false));
    let ctx = StepContext::new(job, stop.clone()).unwrap();
    let mut net = Network::init(&depth_shape(Family::Transformer, 1, 32), 64, 3, Device::Cpu).unwrap();
    // A fresh network's outputs are zero, and adapters of what nobody reads have no gradient.
    tch::no_grad(|| {
        for (place, parameter) in net.parameters().iter().enumerate() {
            let places = Tensor::arange(parameter.tensor.numel() as i64, (Kind::Float, Device::Cpu));
            let noise = ((places * 12.9898 + place as f64).sin() * 43_758.545).frac() * 0.3;
            let _ = parameter.tensor.shallow_clone().g_add_(&noise.view_as(&parameter.tensor));
        }
    });
    prepare(&ctx, &mut net, lora).unwrap();
    let optimizer = OptimizerParams {
        matrices: MatrixOptimizer::Adamw,
        weight_decay: RuleOr::Value(0.0),
        grad_clip: 1.0,
        warmup: Span::Share(0.05),
        max_setbacks: 0,
        ..OptimizerParams::default()
    };
    let mut chosen = Chosen::new();
    let rates = stage_rates(&optimizer, &net, Precision::Fp32, RULES, &mut chosen);
    assert_eq!(chosen["lr"].0.contains("with adapters"), lora.is_some());
    let checkpoint = CheckpointParams { every_secs: 0.0, every_steps: 5, keep: 2, keep_best: None };
    let plan = stage_plan(&optimizer, &rates, STEPS, checkpoint, RULES);
    let (chats, rows) = (chats(), (0..12).map(|row| vec![row]).collect::<Vec<_>>());
    let names: Vec<String> = (0..12).map(|row| format!("chat {row}")).collect();
    let inner = SftObjective {
        net: &net,
        chats: &chats,
        names: &names,
        rows: &rows,
        order: PassOrder::new(5, 12),
        schedule: ItemSchedule { total_items: 4 * STEPS, step_items: 4, micro_items: 2 },
        precision: Precision::Fp32,
    };
    net.drop_out_from(ctx.seed("lora dropout"));
    let outcome = train(&ctx, &plan, &mut Stopping { inner, stop, stop_at });
    (outcome, net)
}

fn bits(parameters: &[Parameter]) -> Vec<u32> {
    let of = |parameter: &Parameter| Vec::<f32>::try_from(parameter.tensor.detach().view([-1])).unwrap();
    parameters.iter().flat_map(of).map(f32::to_bits).collect()
}

#[test]
fn adapters_learn_while_the_weights_keep_their_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (outcome, net) = run(folder.path(), Some(&lora(0.0)), None);
    let outcome = outcome.unwrap();
    let losses: Vec<f64> = outcome.curves.0["loss"].iter().map(|point| point.value).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..3]), mean(&losses[losses.len() - 3..]));
    println!("loss {first:.3} → {last:.3} in {STEPS} steps");
    assert!(last < 0.8 * first, "{losses:?}");
    let before = tempfile::tempdir().unwrap();
    let (stopped, untouched) = run(before.path(), Some(&lora(0.0)), Some(1));
    assert!(stopped.is_err());
    assert_eq!(bits(net.parameters()), bits(untouched.parameters()), "the model's own weights");
    assert_ne!(bits(&net.trainable()), bits(&untouched.trainable()));
    // A state holds the adapters and their moments alone: three numbers for each, and a page of facts.
    let trained: usize = net.trainable().iter().map(|parameter| parameter.tensor.numel()).sum();
    let files = std::fs::read_dir(folder.path().join("checkpoints")).unwrap();
    let largest = files.map(|file| file.unwrap().metadata().unwrap().len()).max().unwrap();
    println!("{trained} of {} parameters train; a state is {largest} bytes", net.total_params());
    assert!(
        largest >= 12 * trained as u64 && largest < 12 * trained as u64 + 32_768,
        "{largest} for {trained}"
    );
    assert!(largest < 4 * net.total_params());
}

#[test]
fn a_run_whose_blocks_are_computed_again_ends_with_the_same_bits() {
    for lora in [None, Some(lora(0.2))] {
        let [plain, again] = [Recompute::None, Recompute::Blocks].map(|recompute| {
            let folder = tempfile::tempdir().unwrap();
            let (outcome, net) = run_by(JobFile { recompute, ..job_in(folder.path()) }, lora.as_ref(), None);
            (outcome.unwrap().curves, bits(&net.trainable()))
        });
        assert_eq!(plain.0, again.0, "losses and gradient norms");
        assert!(plain.1 == again.1, "weights, adapters: {}", lora.is_some());
    }
}

#[test]
fn a_stopped_run_of_adapters_that_drop_out_ends_with_the_same_bits() {
    let (whole_folder, lora) = (tempfile::tempdir().unwrap(), lora(0.2));
    let (whole, net) = run(whole_folder.path(), Some(&lora), None);
    whole.unwrap();
    let wanted = bits(&net.trainable());
    for stop_at in [1, 5, 13, STEPS - 1] {
        let folder = tempfile::tempdir().unwrap();
        assert!(run(folder.path(), Some(&lora), Some(stop_at)).0.is_err());
        let (resumed, net) = run(folder.path(), Some(&lora), None);
        resumed.unwrap();
        assert!(bits(&net.trainable()) == wanted, "stopped after step {stop_at}");
    }
    let (_, other) = run(tempfile::tempdir().unwrap().path(), Some(&self::lora(0.0)), None);
    assert_ne!(bits(&other.trainable()), wanted, "the drop-out is carried out");
}

/// A second fine-tuning that starts from the adapters of the first: it reads the model that the first one read.
#[test]
fn an_adapter_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (outcome, net) = run(folder.path(), Some(&lora(0.0)), None);
    let losses: Vec<f64> = outcome.unwrap().curves.0["loss"].iter().map(|point| point.value).collect();
    net.save_adapter(folder.path(), None).unwrap();
    let again = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    let input = InputArtifact { kind: "model".into(), path, fingerprint: "f".into() };
    let inputs = BTreeMap::from([("adapter".to_owned(), input)]);
    let start = LoraParams::Adapter(AdapterParams { rank: Some(4), ..AdapterParams::default() });
    let job = JobFile { inputs: inputs.clone(), ..job_in(again.path()) };
    let (outcome, further) = run_by(job, Some(&start), None);
    let continued: Vec<f64> = outcome.unwrap().curves.0["loss"].iter().map(|point| point.value).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last, next) = (mean(&losses[..3]), mean(&losses[losses.len() - 3..]), continued[0]);
    let end = mean(&continued[continued.len() - 3..]);
    println!("loss {first:.3} → {last:.3}, then from {next:.3} on to {end:.3}");
    assert!((next - last).abs() < 0.2 * (first - last), "{first} {last} {next}");
    assert!(end < last);
    assert_eq!(bits(net.parameters()), bits(further.parameters()), "the model's own weights");
    let ctx = |inputs: &BTreeMap<String, InputArtifact>| {
        let job = JobFile { inputs: inputs.clone(), ..job_in(again.path()) };
        StepContext::new(job, Arc::new(AtomicBool::new(false))).unwrap()
    };
    let fresh = || Network::init(&depth_shape(Family::Transformer, 1, 32), 64, 3, Device::Cpu).unwrap();
    let mut begun = fresh();
    prepare(&ctx(&inputs), &mut begun, Some(&start)).unwrap();
    assert_eq!(bits(&begun.trainable()), bits(&net.trainable()), "what ended is what begins");
    let wrong = LoraParams::Adapter(AdapterParams { rank: Some(8), ..AdapterParams::default() });
    let error = prepare(&ctx(&inputs), &mut fresh(), Some(&wrong)).unwrap_err().to_string();
    assert!(error.ends_with("lora.rank: expected 8, got 4"), "{error}");
}
