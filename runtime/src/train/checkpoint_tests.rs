//! States of a small run: damaged in every way, of other runs, on a full disk, the best of them, and saved wherever a stop falls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cupola_specs::contract::{CheckpointRecord, ErrorClass, Event, EventBody, Failure};
use cupola_specs::job::{BestMetric, CheckpointParams, KeepBest, Span};
use tch::{Kind, Tensor};

use super::tests::context;
use super::{
    Curves, LrSchedule, Objective, OptimizerSettings, PhaseRate, SetbackLimits, StepLoss, TrainError,
    TrainOutcome, TrainPlan, train,
};
use crate::job::{JobError, StepContext, StepError};
use crate::model::{ParamGroup, Parameter};

const STEPS: u64 = 12;
const EVALUATION: u64 = 3;

/// Set in a process that has the library's generator to itself.
const DRAWS: &str = "CUPOLA_TEST_DRAWS";

/// Where a run is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq)]
enum StopAt {
    Never,
    /// While this micro-batch of this step is computed.
    Micro(u64, u64),
    /// In the middle of the evaluation after so many steps.
    Evaluation(u64),
}

/// A bowl that the weights roll into, with noise, and evaluations whose value follows a given curve.
struct Bowl<'c> {
    weights: Tensor,
    ctx: &'c StepContext,
    stop: Arc<AtomicBool>,
    stop_at: StopAt,
    /// What happens after a step, before its evaluation.
    hook: Box<dyn FnMut(u64) + 'c>,
    values: BTreeMap<u64, f64>,
    /// Whether the noise is drawn from the library's own generator, which all threads of a process share.
    draws: bool,
}

impl Objective for Bowl<'_> {
    fn parameters(&self) -> Vec<Parameter> {
        let tensor = self.weights.shallow_clone();
        vec![Parameter { name: "bowl".into(), tensor, group: ParamGroup::Vector }]
    }

    fn micro_batches(&self, _step: u64) -> u64 {
        3
    }

    fn loss(&mut self, step: u64, micro: u64) -> Result<StepLoss, TrainError> {
        if self.stop_at == StopAt::Micro(step, micro) {
            self.stop.store(true, Ordering::SeqCst);
        }
        let noise = if self.draws {
            Tensor::randn([4], (Kind::Float, tch::Device::Cpu)) * 0.1
        } else {
            Tensor::from_slice(&[0.1f32, -0.1, 0.2, 0.3]) * ((step * 3 + micro) as f64).sin()
        };
        let loss = (&self.weights - step as f64 * 0.01 + noise).square().sum(Kind::Float) / 3.0;
        Ok(StepLoss { loss, auxiliary: None, tokens: 2 + micro, metrics: Vec::new(), data_secs: 0.0 })
    }

    fn row_names(&mut self, _step: u64, _micro: u64) -> Vec<String> {
        Vec::new()
    }

    fn after_step(&mut self, done: u64, curves: &mut Curves) -> Result<(), TrainError> {
        (self.hook)(done);
        if !done.is_multiple_of(EVALUATION) {
            return Ok(());
        }
        let at_rest = self.weights.sum(Kind::Float).double_value(&[]);
        curves.push("validation_loss", done, at_rest);
        if self.stop_at == StopAt::Evaluation(done) {
            self.stop.store(true, Ordering::SeqCst);
        }
        self.ctx.check_stop()?;
        curves.push("validation_bpb", done, self.values.get(&done).copied().unwrap_or(at_rest));
        Ok(())
    }

    fn data_cursor(&self, done: u64) -> u64 {
        9 * done
    }
}

fn plan(checkpoint: CheckpointParams, export: Option<BestMetric>) -> TrainPlan {
    TrainPlan {
        steps: STEPS,
        optimizer: OptimizerSettings { lr: 0.05, ..OptimizerSettings::default() },
        schedule: LrSchedule::new(STEPS, Span::Share(0.1), &[PhaseRate::TO_ZERO]),
        grad_clip: 1.0,
        setbacks: SetbackLimits { max_setbacks: 0, spike_sigma: 0.0 },
        checkpoint,
        export,
        stage: "bowl".into(),
    }
}

fn every(every_steps: u64, keep: u64) -> CheckpointParams {
    CheckpointParams { every_secs: 0.0, every_steps, keep, keep_best: None }
}

type Ended = (Result<TrainOutcome, TrainError>, Vec<u32>);

/// One attempt.
fn attempt(
    folder: &Path,
    plan: &TrainPlan,
    stop_at: StopAt,
    values: &BTreeMap<u64, f64>,
    hook: impl FnMut(u64),
) -> Ended {
    let stop = Arc::new(AtomicBool::new(false));
    let ctx = context(folder, stop.clone());
    let weights = Tensor::from_slice(&[1.0f32, -1.0, 0.5, 2.0]).set_requires_grad(true);
    let draws = std::env::var_os(DRAWS).is_some();
    let (hook, values) = (Box::new(hook), values.clone());
    let mut bowl = Bowl { weights, ctx: &ctx, stop, stop_at, hook, values, draws };
    let outcome = train(&ctx, plan, &mut bowl);
    let weights = Vec::<f32>::try_from(bowl.weights.detach()).unwrap();
    (outcome, weights.into_iter().map(f32::to_bits).collect())
}

fn simple(folder: &Path, plan: &TrainPlan) -> Ended {
    attempt(folder, plan, StopAt::Never, &BTreeMap::new(), |_| ())
}

fn events(folder: &Path) -> Vec<EventBody> {
    let text = std::fs::read_to_string(folder.join("events.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str::<Event>(line).unwrap().body).collect()
}

fn warnings(folder: &Path, wanted: &str) -> Vec<String> {
    events(folder)
        .into_iter()
        .filter_map(|body| match body {
            EventBody::Warning { code, message } if code == wanted => Some(message),
            _ => None,
        })
        .collect()
}

fn records(folder: &Path) -> Vec<CheckpointRecord> {
    let mut records: Vec<CheckpointRecord> = std::fs::read_dir(folder.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("step-"))
        .map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        .collect();
    records.sort_by_key(|record| record.step);
    records
}

fn file_of(folder: &Path, step: u64) -> PathBuf {
    let record = records(folder).into_iter().find(|record| record.step == step).unwrap();
    folder.join("checkpoints").join(&record.shards[0].file)
}

#[test]
fn a_stop_in_any_micro_batch_or_evaluation_saves_and_the_run_ends_with_the_same_bits() {
    let whole = tempfile::tempdir().unwrap();
    let plan = plan(every(5, 2), None);
    let wanted = simple(whole.path(), &plan);
    let mut stops: Vec<StopAt> =
        (0..STEPS).flat_map(|step| (0..2).map(move |m| StopAt::Micro(step, m))).collect();
    stops.extend((1..=STEPS / EVALUATION).map(|at| StopAt::Evaluation(at * EVALUATION)));
    for stop_at in stops {
        let folder = tempfile::tempdir().unwrap();
        let (stopped, _) = attempt(folder.path(), &plan, stop_at, &BTreeMap::new(), |_| ());
        let error = stopped.unwrap_err();
        assert!(matches!(error, TrainError::Job(JobError::Cancelled)), "{stop_at:?}: {error}");
        let saved = records(folder.path()).last().map_or(0, |record| record.step);
        let done = match stop_at {
            StopAt::Micro(step, _) => step,
            StopAt::Evaluation(done) => done,
            StopAt::Never => unreachable!(),
        };
        assert_eq!(saved, done, "{stop_at:?}");
        assert_eq!(
            events(folder.path()).iter().any(|e| matches!(e, EventBody::Checkpoint(r) if r.step == done)),
            done > 0
        );
        let again = simple(folder.path(), &plan);
        assert_eq!(again.0.as_ref().unwrap(), wanted.0.as_ref().unwrap(), "{stop_at:?}");
        assert_eq!(again.1, wanted.1, "{stop_at:?}");
        assert_eq!(warnings(folder.path(), "checkpoint_damaged"), [""; 0], "{stop_at:?}");
    }
}

/// The test above in a process of its own, where each micro-batch draws from the library's generator.
#[test]
fn what_is_drawn_from_the_librarys_generator_is_drawn_again() {
    let name = "train::checkpoint_tests::a_stop_in_any_micro_batch_or_evaluation_saves_and_the_run_ends_with_the_same_bits";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--test-threads=1"])
        .env(DRAWS, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// What a warning says, and what was done to the newest state's file.
type Damage = (&'static str, fn(&Path));

#[test]
fn every_damage_is_told_and_the_next_older_whole_state_is_taken() {
    let whole = tempfile::tempdir().unwrap();
    let plan = plan(every(4, 3), None);
    let wanted = simple(whole.path(), &plan);
    let damages: [Damage; 6] = [
        ("expected", |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("got 0", |path| std::fs::write(path, b"").unwrap()),
        ("blake3", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            let middle = bytes.len() - 5;
            bytes[middle] ^= 0x10;
            std::fs::write(path, &bytes).unwrap();
        }),
        ("blake3", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            bytes[20] ^= 1;
            std::fs::write(path, &bytes).unwrap();
        }),
        ("No such file", |path| std::fs::remove_file(path).unwrap()),
        ("the record step-000000000012.json", |path| {
            std::fs::write(path.with_file_name("step-000000000012.json"), b"{\"step\": 12,").unwrap();
        }),
    ];
    for (needle, damage) in damages {
        let folder = tempfile::tempdir().unwrap();
        simple(folder.path(), &plan).0.unwrap();
        assert_eq!(records(folder.path()).iter().map(|record| record.step).collect::<Vec<_>>(), [4, 8, 12]);
        std::fs::write(folder.path().join("checkpoints/step-000000000012-0of1.partial"), b"cut").unwrap();
        damage(&file_of(folder.path(), 12));
        let again = simple(folder.path(), &plan);
        assert_eq!(
            (again.0.as_ref().unwrap(), &again.1),
            (wanted.0.as_ref().unwrap(), &wanted.1),
            "{needle}"
        );
        let told = warnings(folder.path(), "checkpoint_damaged");
        assert!(told.len() == 1 && told[0].contains(needle), "{needle}: {told:?}");
        let resumed = events(folder.path()).iter().any(
            |e| matches!(e, EventBody::Log { message } if message.contains("resumes after optimiser step 8")),
        );
        assert!(resumed, "{needle}");
        let left = std::fs::read_dir(folder.path().join("checkpoints")).unwrap().count();
        assert_eq!(left, 6, "three states with their records and nothing else");
    }
}

#[test]
fn with_no_whole_state_the_run_begins_anew_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(every(6, 2), None);
    let wanted = simple(folder.path(), &plan);
    for step in [6, 12] {
        std::fs::write(file_of(folder.path(), step), b"not a state").unwrap();
    }
    let again = simple(folder.path(), &plan);
    assert_eq!((again.0.unwrap(), again.1), (wanted.0.unwrap(), wanted.1));
    assert_eq!(warnings(folder.path(), "checkpoint_damaged").len(), 2);
}

#[test]
fn a_state_of_another_step_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let own = plan(every(6, 2), None);
    simple(folder.path(), &own).0.unwrap();
    let other = TrainPlan { stage: "another".into(), ..own };
    let error = simple(folder.path(), &other).0.unwrap_err();
    assert!(matches!(error, TrainError::ForeignState { .. }), "{error}");
    assert_eq!(error.facts().class, ErrorClass::User);
    assert!(error.to_string().contains("bowl") && error.to_string().contains("another"), "{error}");
}

#[test]
fn a_full_disk_comes_out_of_the_training_thread_with_its_class() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(every(4, 2), None);
    let states = folder.path().join("checkpoints");
    // What is written to the second state's file goes to a device that is always full.
    let fill = |done| {
        if done == 5 {
            std::os::unix::fs::symlink("/dev/full", states.join("step-000000000008-0of1.partial")).unwrap();
        }
    };
    let (ended, _) = attempt(folder.path(), &plan, StopAt::Never, &BTreeMap::new(), fill);
    let facts = ended.unwrap_err().facts();
    assert_eq!((facts.class, facts.code.as_ref()), (ErrorClass::Transient, Failure::STORAGE_FULL));
    assert_eq!(records(folder.path()).iter().map(|record| record.step).collect::<Vec<_>>(), [4]);
    // With room again the run goes on from the first state.
    let whole = tempfile::tempdir().unwrap();
    let (again, wanted) = (simple(folder.path(), &plan), simple(whole.path(), &plan));
    assert_eq!((again.0.unwrap(), again.1), (wanted.0.unwrap(), wanted.1));
}

/// The best evaluation is that of step 6, the next best that of step 9; step 3 is as good as step 9 and earlier.
fn values() -> BTreeMap<u64, f64> {
    BTreeMap::from([(3, 1.5), (6, 1.0), (9, 1.5), (12, f64::NAN)])
}

fn best(count: u64) -> CheckpointParams {
    let keep_best = Some(KeepBest { metric: BestMetric::ValidationBpb, count });
    CheckpointParams { keep_best, ..every(5, 1) }
}

#[test]
fn the_best_states_stay_beside_the_newest() {
    let of = |count| {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(best(count), None);
        let (outcome, _) = attempt(folder.path(), &plan, StopAt::Never, &values(), |_| ());
        assert_eq!(outcome.unwrap().exported_step, STEPS);
        records(folder.path()).into_iter().map(|record| (record.step, record.best)).collect::<Vec<_>>()
    };
    // Step 5 after the best one at 3 is not due: the next one by the cadence is 11.
    assert_eq!(of(1), [(6, true), (11, false)]);
    assert_eq!(of(2), [(3, true), (6, true), (11, false)]);
}

#[test]
fn the_best_state_becomes_the_model_whenever_the_run_was_stopped() {
    let export = Some(BestMetric::ValidationBpb);
    let plan = plan(best(1), export);
    let whole = tempfile::tempdir().unwrap();
    let (wanted, weights) = attempt(whole.path(), &plan, StopAt::Never, &values(), |_| ());
    // As text, in which a NaN equals itself.
    let told = |outcome: Result<TrainOutcome, TrainError>| format!("{:?}", outcome.unwrap());
    let wanted = told(wanted);
    assert!(wanted.contains("exported_step: 6,") && wanted.contains("NaN"), "{wanted}");
    // The weights are those of a run that was stopped there, without its export.
    let cut = tempfile::tempdir().unwrap();
    let last = TrainPlan { export: None, ..plan.clone() };
    let (_, after_six) = attempt(cut.path(), &last, StopAt::Micro(6, 0), &values(), |_| ());
    assert_eq!(weights, after_six);
    for stop_at in [
        StopAt::Micro(5, 1),
        StopAt::Evaluation(6),
        StopAt::Micro(6, 0),
        StopAt::Micro(10, 2),
        StopAt::Evaluation(12),
    ] {
        let folder = tempfile::tempdir().unwrap();
        attempt(folder.path(), &plan, stop_at, &values(), |_| ()).0.unwrap_err();
        let (again, bits) = attempt(folder.path(), &plan, StopAt::Never, &values(), |_| ());
        assert_eq!((told(again), &bits), (wanted.clone(), &weights), "{stop_at:?}");
    }
    // The best state is lost: the run goes on from before it and makes it again.
    let folder = tempfile::tempdir().unwrap();
    attempt(folder.path(), &plan, StopAt::Micro(10, 2), &values(), |_| ()).0.unwrap_err();
    std::fs::remove_file(file_of(folder.path(), 6)).unwrap();
    let (again, bits) = attempt(folder.path(), &plan, StopAt::Never, &values(), |_| ());
    assert_eq!((told(again), &bits), (wanted, &weights));
    let warned = warnings(folder.path(), "checkpoint_damaged");
    assert!(
        warned.iter().any(|message| message.contains("the best one so far, that of step 6")),
        "{warned:?}"
    );
}

#[test]
fn records_hold_what_a_state_stands_on() {
    let folder = tempfile::tempdir().unwrap();
    simple(folder.path(), &plan(every(12, 1), None)).0.unwrap();
    let record = records(folder.path()).pop().unwrap();
    let bytes = std::fs::read(file_of(folder.path(), 12)).unwrap();
    assert_eq!((record.step, record.data_cursor, record.seed), (12, 108, 1));
    assert_eq!((record.size_bytes, record.shards.len()), (bytes.len() as u64, 1));
    assert_eq!(record.shards[0].blake3, blake3::hash(&bytes).to_hex().to_string());
    let told = events(folder.path());
    assert!(told.iter().any(|body| matches!(body, EventBody::Checkpoint(of_event) if *of_event == record)));
}
