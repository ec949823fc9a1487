//! Runs by several ranks, each a thread with a Gloo group of its own, against the same run by one.

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cupola_specs::contract::{ErrorClass, Failure};
use cupola_specs::job::{CheckpointParams, EmaParams, Family, MatrixOptimizer, ModelShape, Precision, Span};
use tch::{Device, Kind, Tensor};

use super::{
    Curves, LrSchedule, Objective, OptimizerSettings, PhaseRate, SetbackLimits, StepLoss, TrainError,
    TrainOutcome, TrainPlan, train,
};
use crate::job::sample::job_in;
use crate::job::{JobError, Place, StepContext, StepError};
use crate::model::{Network, ParamGroup, Parameter, RowLayout, cross_entropy, depth_shape};

const STEPS: u64 = 50;
/// Tokens of a row.
const ROW: i64 = 7;

/// A run that is compared.
#[derive(Debug, Clone, Copy)]
struct Case {
    vocab: i64,
    matrices: MatrixOptimizer,
    zero: u32,
    /// Whether the average of the weights becomes the model; the other ranks, which hand nothing on, keep the weights.
    has_ema: bool,
    /// Micro-batches of a step; every seventh step has one alone.
    micros: u64,
    every_steps: u64,
    /// Rank and step at which its process is asked to stop.
    stop: Option<(usize, u64)>,
    /// A step whose last micro-batch has a loss that is no number.
    spoiled: Option<u64>,
    /// What a rank does in a step before it computes.
    trouble: Option<(usize, u64, Trouble)>,
    /// How long the evaluation after the second step takes.
    evaluation: Duration,
    timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    /// It fails for a reason of its own.
    Leaves,
    /// It does nothing for so long.
    Sleeps(Duration),
}

const CASE: Case = Case {
    vocab: 31,
    matrices: MatrixOptimizer::Adamw,
    zero: 0,
    has_ema: false,
    micros: 5,
    every_steps: 0,
    stop: None,
    spoiled: None,
    trouble: None,
    evaluation: Duration::ZERO,
    timeout: Duration::from_mins(1),
};

/// A small network on rows that follow from step and micro-batch, and a weight that nothing reads.
struct Tiny<'c> {
    network: Network,
    unread: Tensor,
    case: Case,
    ctx: &'c StepContext,
    stop: Arc<AtomicBool>,
}

impl Objective for Tiny<'_> {
    fn parameters(&self) -> Vec<Parameter> {
        let mut all: Vec<Parameter> = self.network.parameters().iter().map(Parameter::handle).collect();
        let tensor = self.unread.shallow_clone();
        all.push(Parameter { name: "unread".into(), tensor, group: ParamGroup::Matrix });
        all
    }

    fn micro_batches(&self, step: u64) -> u64 {
        if step % 7 == 6 { 1 } else { self.case.micros }
    }

    fn loss(&mut self, step: u64, micro: u64) -> Result<StepLoss, TrainError> {
        let rank = self.ctx.place().rank;
        if self.case.stop == Some((rank, step)) {
            self.stop.store(true, Ordering::SeqCst);
        }
        match self.case.trouble {
            Some((of_rank, at, Trouble::Leaves)) if (of_rank, at) == (rank, step) => {
                return Err(TrainError::Refused("a reason of its own".into()));
            }
            Some((of_rank, at, Trouble::Sleeps(long))) if (of_rank, at) == (rank, step) => {
                std::thread::sleep(long);
            }
            _ => {}
        }
        let rows = 1 + (step + micro) % 2;
        let of_step: u64 = (0..self.micro_batches(step)).map(|micro| 1 + (step + micro) % 2).sum();
        // Each token follows from the one before it.
        let mut ids: Vec<i64> = Vec::new();
        for row in 0..rows as i64 {
            let mut id = (5 * step as i64 + 11 * micro as i64 + 7 * row) % self.case.vocab;
            for _ in 0..=ROW {
                ids.push(id);
                id = (3 * id + 1) % self.case.vocab;
            }
        }
        let ids = Tensor::from_slice(&ids).view([rows as i64, ROW + 1]); // [B, T + 1]
        let (inputs, targets) = (ids.narrow(1, 0, ROW), ids.narrow(1, 1, ROW)); // [B, T]
        let losses = cross_entropy(&self.network, &inputs, &targets, &RowLayout::Causal, Precision::Fp32); // [B, T]
        let mut loss = losses.sum(Kind::Float) / (of_step * ROW as u64) as f64;
        if self.case.spoiled == Some(step) && micro + 1 == self.micro_batches(step) {
            loss *= f64::NAN;
        }
        let share = rows as f64 / of_step as f64;
        let metrics = vec![("share", share)];
        Ok(StepLoss { loss, auxiliary: None, tokens: rows * ROW as u64, metrics, data_secs: 0.0 })
    }

    fn row_names(&mut self, step: u64, micro: u64) -> Vec<String> {
        vec![format!("{step}, {micro}")]
    }

    fn after_step(&mut self, done: u64, curves: &mut Curves) -> Result<(), TrainError> {
        if done == 2 {
            std::thread::sleep(self.case.evaluation);
            curves.push("evaluated_by", done, self.ctx.place().rank as f64);
        }
        Ok(())
    }

    fn data_cursor(&self, done: u64) -> u64 {
        done
    }
}

/// How a rank ended, and its weights.
type Ended = (Result<TrainOutcome, TrainError>, Vec<f32>);

/// One rank of an attempt; the first one keeps its states in `folder`.
fn one(folder: &Path, case: Case, place: Place) -> Ended {
    let own = folder.join(format!("rank-{}", place.rank));
    std::fs::create_dir_all(&own).unwrap();
    let mut job = job_in(&own);
    job.parallel.zero = case.zero;
    job.checkpoints = if place.is_first() { folder.join("states") } else { own.join("none") };
    let stop = Arc::new(AtomicBool::new(false));
    let ctx = StepContext::at(place, job, Arc::clone(&stop)).unwrap();
    let shape = ModelShape {
        hidden_size: 16,
        intermediate_size: 24,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        ..depth_shape(Family::Transformer, 2, ROW as u64)
    };
    // Other weights on every rank: those of the first count.
    let network = Network::init(&shape, case.vocab, 5 + ctx.place().rank as u64, Device::Cpu).unwrap();
    let unread = Tensor::ones([3, 5], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let plan = TrainPlan {
        steps: STEPS,
        optimizer: OptimizerSettings {
            matrices: case.matrices,
            lr: 0.003,
            matrix_lr: 0.01,
            weight_decay: 0.1,
            betas: [0.9, 0.95],
            eps: 1e-8,
            ema: case.has_ema.then_some(EmaParams { decay: 0.9, every_steps: 2 }),
            ..OptimizerSettings::default()
        },
        schedule: LrSchedule::new(STEPS, Span::Share(0.1), &[PhaseRate::TO_ZERO]),
        grad_clip: 1.0,
        setbacks: SetbackLimits { max_setbacks: 1, spike_sigma: 0.0 },
        checkpoint: CheckpointParams {
            every_secs: 0.0,
            every_steps: case.every_steps,
            keep: 2,
            keep_best: None,
        },
        export: None,
        stage: "tiny".into(),
    };
    let mut tiny = Tiny { network, unread, case, ctx: &ctx, stop };
    let outcome = train(&ctx, &plan, &mut tiny);
    let weights: Vec<f32> = tiny
        .parameters()
        .iter()
        .flat_map(|weight| Vec::<f32>::try_from(weight.tensor.detach().reshape([-1])).unwrap())
        .collect();
    (outcome, weights)
}

/// Held by the one attempt that runs, so that no other one's sockets take the port that it found free.
static PORTS: Mutex<()> = Mutex::new(());

/// A port that nobody has, from below those that the system gives to connections: one of those might be another program's a moment later.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 12_000 + (std::process::id() % 150) as u16 * 100;
    let mut ports = (0..100).map(|_| first + NEXT.fetch_add(1, Ordering::Relaxed) % 100);
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

/// An attempt by some ranks.
fn attempt(folder: &Path, case: Case, count: usize) -> Vec<Ended> {
    let _alone = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let port = free_port();
    let place = |rank| Place {
        rank,
        world_size: count,
        local_rank: rank,
        local_world_size: count,
        port,
        timeout: case.timeout,
        ..Place::alone()
    };
    std::thread::scope(|scope| {
        let start = |rank| scope.spawn(move || one(folder, case, place(rank)));
        let ranks: Vec<_> = (0..count).map(start).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

/// A run from its start to its end: what the first rank leaves. All ranks end with the same weights.
fn run(case: Case, count: usize) -> (TrainOutcome, Vec<f32>) {
    let folder = tempfile::tempdir().unwrap();
    finish(folder.path(), case, count)
}

fn finish(folder: &Path, case: Case, count: usize) -> (TrainOutcome, Vec<f32>) {
    let mut ranks = attempt(folder, case, count);
    for (outcome, weights) in &ranks[1..] {
        assert!(matches!(outcome, Err(TrainError::Job(JobError::PartDone))), "{outcome:?}");
        assert!(
            case.has_ema || bits(weights) == bits(&ranks[0].1),
            "ranks end with other weights than the first"
        );
    }
    let (outcome, weights) = ranks.swap_remove(0);
    (outcome.unwrap(), weights)
}

fn bits(weights: &[f32]) -> Vec<u32> {
    weights.iter().map(|weight| weight.to_bits()).collect()
}

/// How far two runs' weights are apart in proportion to their size (the norm of the difference over that of the weights), and the greatest
/// difference of their losses, nats.
fn apart(one: &(TrainOutcome, Vec<f32>), other: &(TrainOutcome, Vec<f32>)) -> (f64, f64) {
    let norm =
        |squares: &mut dyn Iterator<Item = f64>| squares.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut one.1.iter().zip(&other.1).map(|(a, b)| f64::from(a - b)));
    let size = norm(&mut one.1.iter().map(|value| f64::from(*value)));
    let loss = |outcome: &TrainOutcome| outcome.curves.0["loss"].clone();
    let (left, right) = (loss(&one.0), loss(&other.0));
    assert_eq!(left.len(), right.len());
    let losses = left.iter().zip(&right).map(|(a, b)| (a.value - b.value).abs());
    (difference / size, losses.fold(0.0, f64::max))
}

#[test]
fn any_number_of_ranks_ends_as_one() {
    // Muon's iteration gives every direction of an update the same length, those too that are only rounding.
    let cases = [
        (31, MatrixOptimizer::Adamw, 1e-6),
        (37, MatrixOptimizer::Adamw, 1e-6),
        (37, MatrixOptimizer::Muon, 1e-4),
    ];
    for (vocab, matrices, limit) in cases {
        let case = Case { vocab, matrices, ..CASE };
        let alone = run(case, 1);
        let losses = &alone.0.curves.0["loss"];
        println!("losses from {} to {}", losses[0].value, losses[losses.len() - 1].value);
        assert!(losses[losses.len() - 1].value < losses[0].value - 0.02, "it learns nothing");
        for count in [2, 3] {
            let shared = run(case, count);
            let (weights, losses) = apart(&alone, &shared);
            println!(
                "{matrices:?}, vocabulary {vocab}, {count} ranks: weights {weights:.1e} apart, losses {losses:.1e}"
            );
            assert!(weights < limit && losses < limit, "{weights:e}, {losses:e}");
            assert_eq!(shared.0.tokens, alone.0.tokens);
            assert!((shared.0.curves.last("share").unwrap() - 1.0).abs() < 1e-12);
            assert_eq!(shared.0.curves.last("evaluated_by"), Some(0.0));
        }
    }
}

#[test]
fn a_shared_out_optimizer_ends_with_the_same_bits() {
    let cases =
        [(MatrixOptimizer::Adamw, false), (MatrixOptimizer::Muon, false), (MatrixOptimizer::Muon, true)];
    for (matrices, has_ema) in cases {
        for count in [2, 3] {
            let whole = run(Case { matrices, has_ema, ..CASE }, count);
            let shared = run(Case { matrices, has_ema, zero: 1, ..CASE }, count);
            assert!(
                bits(&whole.1) == bits(&shared.1),
                "{matrices:?}, average {has_ema}, {count} ranks: {:?}",
                apart(&whole, &shared)
            );
        }
    }
}

#[test]
fn a_run_that_any_rank_is_asked_to_stop_goes_on_with_any_number_of_ranks() {
    for (zero, has_ema) in [(0, false), (1, true)] {
        let alone = run(Case { has_ema, ..CASE }, 1);
        let two = Case { zero, has_ema, every_steps: 9, ..CASE };
        let undisturbed = run(two, 2);
        for count in [2, 1, 3] {
            let folder = tempfile::tempdir().unwrap();
            let stopped = attempt(folder.path(), Case { stop: Some((1, 19)), ..two }, 2);
            for (outcome, _) in &stopped {
                assert_eq!(outcome.as_ref().unwrap_err().facts().code, Failure::CANCELLED);
            }
            let resumed = finish(folder.path(), two, count);
            let log = std::fs::read_to_string(folder.path().join("rank-0/events.jsonl")).unwrap();
            assert!(log.contains("resumes after optimiser step 19 of 50"), "{log}");
            let (weights, losses) = apart(&alone, &resumed);
            println!("2 ranks, then {count}, zero {zero}: {weights:.1e} and {losses:.1e} from one rank");
            assert!(weights < 1e-6 && losses < 1e-6, "{weights:e}, {losses:e}");
            if count == 2 {
                assert!(bits(&resumed.1) == bits(&undisturbed.1), "the same ranks end with other bits");
                assert_eq!(resumed.0.curves, undisturbed.0.curves);
            }
        }
    }
}

#[test]
fn a_bad_micro_batch_of_one_rank_is_left_out_by_all() {
    let case = Case { spoiled: Some(8), ..CASE };
    let (alone, shared) = (run(case, 1), run(case, 2));
    for (outcome, _) in [&alone, &shared] {
        assert_eq!(outcome.left_out, [8]);
        assert_eq!(
            (outcome.bad_steps[0].micro_batch, &outcome.bad_steps[0].rows[..]),
            (Some(4), &["8, 4".to_owned()][..])
        );
    }
    let (weights, losses) = apart(&alone, &shared);
    assert!(weights < 1e-6 && losses < 1e-6, "{weights:e}, {losses:e}");
}

#[test]
fn an_evaluation_longer_than_the_time_out_loses_no_rank() {
    let case = Case { evaluation: Duration::from_millis(2500), timeout: Duration::from_secs(1), ..CASE };
    let (outcome, _) = run(case, 2);
    assert_eq!(outcome.steps, STEPS);
}

#[test]
fn a_rank_that_leaves_or_falls_silent_is_told_of_within_the_time_out() {
    let timeout = Duration::from_secs(2);
    for (trouble, most) in [(Trouble::Leaves, 1.0), (Trouble::Sleeps(Duration::from_secs(4)), 3.0)] {
        for lost in [0, 1] {
            let case = Case { trouble: Some((lost, 4, trouble)), timeout, ..CASE };
            let folder = tempfile::tempdir().unwrap();
            let begin = Instant::now();
            let ended = attempt(folder.path(), case, 2);
            let error = ended[1 - lost].0.as_ref().unwrap_err();
            let facts = error.facts();
            println!("rank {lost} {trouble:?}: {error} (all ended after {:?})", begin.elapsed());
            assert_eq!((facts.class, facts.code.as_ref()), (ErrorClass::Transient, Failure::RANK_LOST));
            let words = error.to_string();
            assert!(words.contains(&format!("rank {}: all_", 1 - lost)), "{words}");
            let seconds: f64 =
                words.split("failed after ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert!(seconds <= most, "{words}");
        }
    }
}
