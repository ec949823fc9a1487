//! What saving costs a run of 50 million parameters: `cargo bench -p cupola-runtime --bench checkpoint`.
//!
//! Two short runs of the same steps, with and without states. The time by which the training thread stands still for a state is what the run
//! tells of itself; how long the writer took lies between that and the `checkpoint` event. Without a writer of its own a run would stand
//! still for both.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot run has nothing to say")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cupola_runtime::job::StepContext;
use cupola_runtime::model::{ParamGroup, Parameter};
use cupola_runtime::train::{
    Curves, LrSchedule, Objective, OptimizerSettings, PhaseRate, SetbackLimits, StepLoss, TrainError,
    TrainPlan, train,
};
use cupola_specs::contract::{Event, EventBody, JobFile};
use cupola_specs::job::{
    CheckpointParams, Device, ParallelParams, Recompute, Span, StepParams, TokensParams,
};
use tch::{Kind, Tensor};

const TENSORS: i64 = 50;
const SIZE: [i64; 2] = [1000, 1000];
const STEPS: u64 = 12;
/// So many micro-batches that a step takes longer than writing a state, as it does in a run worth saving.
const MICRO_BATCHES: u64 = 4;

/// Weights that shrink.
struct Shrink {
    weights: Vec<Tensor>,
    secs: Vec<f64>,
    last: Instant,
}

impl Objective for Shrink {
    fn parameters(&self) -> Vec<Parameter> {
        let parameter = |(index, tensor): (usize, &Tensor)| Parameter {
            name: format!("layers.{index}.weight"),
            tensor: tensor.shallow_clone(),
            group: ParamGroup::Matrix,
        };
        self.weights.iter().enumerate().map(parameter).collect()
    }

    fn micro_batches(&self, _step: u64) -> u64 {
        MICRO_BATCHES
    }

    fn loss(&mut self, _step: u64, _micro: u64) -> Result<StepLoss, TrainError> {
        let loss: Tensor = self.weights.iter().map(|weight| weight.square().mean(Kind::Float)).sum();
        Ok(StepLoss {
            loss: loss.sum(Kind::Float),
            auxiliary: None,
            tokens: 1,
            metrics: Vec::new(),
            data_secs: 0.0,
        })
    }

    fn row_names(&mut self, _step: u64, _micro: u64) -> Vec<String> {
        Vec::new()
    }

    fn after_step(&mut self, _done: u64, _curves: &mut Curves) -> Result<(), TrainError> {
        self.secs.push(self.last.elapsed().as_secs_f64());
        self.last = Instant::now();
        Ok(())
    }

    fn data_cursor(&self, done: u64) -> u64 {
        done
    }
}

fn context(folder: &Path) -> StepContext {
    let job = JobFile {
        version: 1,
        run: "bench".into(),
        step: "bench".into(),
        token: "1.1".into(),
        fingerprint: String::new(),
        params: StepParams::Tokens(TokensParams {}),
        inputs: BTreeMap::new(),
        sources: folder.join("sources.jsonl"),
        staging: folder.join("staging"),
        checkpoints: folder.join("checkpoints"),
        events: folder.join("events.jsonl"),
        seed: 1,
        device: Device::Cpu,
        deterministic: true,
        threads: 1,
        parallel: ParallelParams::ALONE,
        recompute: Recompute::None,
        micro_batch_halvings: 0,
        telemetry: cupola_specs::contract::TelemetryTargets::default(),
    };
    StepContext::new(job, Arc::default()).unwrap()
}

/// Seconds of the whole run and of each step, and the run's events.
fn run(every_steps: u64) -> (f64, Vec<f64>, Vec<Event>) {
    let folder = tempfile::tempdir_in(".").unwrap();
    let plan = TrainPlan {
        steps: STEPS,
        optimizer: OptimizerSettings { lr: 1e-3, ..OptimizerSettings::default() },
        schedule: LrSchedule::new(STEPS, Span::Share(0.1), &[PhaseRate::TO_ZERO]),
        grad_clip: 1.0,
        setbacks: SetbackLimits { max_setbacks: 0, spike_sigma: 0.0 },
        checkpoint: CheckpointParams { every_secs: 0.0, every_steps, keep: 1, keep_best: None },
        export: None,
        stage: "bench".into(),
    };
    let ones = |_| Tensor::ones(SIZE, (Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
    let weights = (0..TENSORS).map(ones).collect();
    let mut shrink = Shrink { weights, secs: Vec::new(), last: Instant::now() };
    let begin = Instant::now();
    train(&context(folder.path()), &plan, &mut shrink).unwrap();
    let secs = begin.elapsed().as_secs_f64();
    let text = std::fs::read_to_string(folder.path().join("events.jsonl")).unwrap();
    (secs, shrink.secs, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let (without, steps, _) = run(0);
    let step = median(steps);
    println!("no states: {without:.2} s for {STEPS} steps, {step:.2} s each");
    let (with, _, events) = run(4);
    let mut stalls = Vec::new();
    let mut handed_over = BTreeMap::new();
    for event in events {
        match event.body {
            EventBody::Metric { name, step, value } if name == "checkpoint_stall_secs" => {
                stalls.push(value);
                handed_over.insert(step, event.at_millis);
            }
            EventBody::Checkpoint(record) => {
                let write = (event.at_millis - handed_over[&record.step]) as f64 / 1000.0;
                let stall = stalls.last().copied().unwrap_or_default();
                println!(
                    "state of step {}: {:.0} MB, training stood still for {stall:.3} s, written in {write:.2} s: \
                     {:.3} s without a thread of its own",
                    record.step,
                    record.size_bytes as f64 / 1e6,
                    stall + write
                );
            }
            _ => {}
        }
    }
    println!("a state every 4 steps: {with:.2} s for {STEPS} steps, the last write included");
}
