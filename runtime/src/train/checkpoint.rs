//! Resumable states: the files of each, and once they are durable a record with their hashes. A state without a record does not exist.
//!
//! A state that is torn, cut or changed is passed over with a warning, and the next older whole one is taken. One that belongs to other
//! parameters or another step is an error: the folder is one step's own, so somebody put it there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cupola_specs::artifact::CurvePoint;
use cupola_specs::contract::{CheckpointRecord, StateShard};
use cupola_specs::job::{BestMetric, CheckpointParams, KeepBest};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::setback::Setbacks;
use super::state_file::{Snapshot, StateFiles, StatePart, is_damage};
use super::{Curves, TrainError, TrainPlan};
use crate::job::{JobError, PARTIAL, StepContext, write_durably};

/// What a state holds beside the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Optimiser steps done.
    pub(super) steps: u64,
    /// Tokens that carried loss so far.
    pub(super) tokens: u64,
    /// Rows of the data order read.
    pub(super) data_cursor: u64,
    /// Whether the run was asked to stop while it evaluated after the last step: it does so again when it goes on.
    pub(super) owes_evaluation: bool,
    /// Curves so far.
    pub(super) curves: BTreeMap<String, Vec<CurvePoint>>,
    /// Setbacks so far.
    pub(super) setbacks: Setbacks,
}

/// Whose state it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    /// The step's fingerprint.
    fingerprint: String,
    /// Which of the step's runs.
    stage: String,
}

/// All that a state knows beside its tensors.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    owner: Owner,
    progress: Progress,
}

/// A state in memory, to be written.
#[derive(Debug)]
pub(super) struct Pending {
    snapshot: Snapshot,
    record: CheckpointRecord,
    /// Steps of the best states up to now.
    best: BTreeSet<u64>,
}

impl Pending {
    /// Gives the memory back.
    pub(super) fn into_room(self) -> Vec<u8> {
        self.snapshot.into_room()
    }
}

/// The checkpoint folder of one run.
#[derive(Debug)]
pub(super) struct Checkpoints<'a> {
    ctx: &'a StepContext,
    folder: PathBuf,
    owner: Owner,
    params: CheckpointParams,
    /// By which number the state is found that the run ends with; none where that is the last one.
    export: Option<BestMetric>,
}

impl<'a> Checkpoints<'a> {
    /// A run's folder; what a write that was cut left there is removed.
    pub(super) fn open(ctx: &'a StepContext, folder: &Path, plan: &TrainPlan) -> Result<Self, TrainError> {
        std::fs::create_dir_all(folder).map_err(|error| JobError::io(folder, error))?;
        let fingerprint = ctx.job().fingerprint.clone();
        let owner = Owner { fingerprint, stage: plan.stage.clone() };
        let this =
            Self { ctx, folder: folder.to_path_buf(), owner, params: plan.checkpoint, export: plan.export };
        this.clean()?;
        Ok(this)
    }

    /// The event stream.
    pub(super) fn ctx(&self) -> &'a StepContext {
        self.ctx
    }

    /// Copies a state, into memory that a former one gave back.
    pub(super) fn take(
        &self,
        progress: &Progress,
        state: Vec<(String, Tensor)>,
        room: Vec<u8>,
    ) -> Result<Pending, TrainError> {
        let facts = Facts { owner: self.owner.clone(), progress: progress.clone() };
        let text = serde_json::to_string(&facts).map_err(|error| self.broken(error.to_string()))?;
        let parts: Vec<StatePart> = state.into_iter().map(StatePart::whole).collect();
        let best = self.best_of(progress);
        let record = CheckpointRecord {
            step: progress.steps,
            data_cursor: progress.data_cursor,
            seed: self.ctx.job().seed,
            shards: Vec::new(),
            size_bytes: 0,
            best: best.contains(&progress.steps),
        };
        Ok(Pending { snapshot: Snapshot::take(&parts, &text, room)?, record, best })
    }

    /// Writes a state: its file, its record, and the event that says so, each durable before the next; then the oldest ones go.
    pub(super) fn write(&self, pending: &Pending) -> Result<CheckpointRecord, TrainError> {
        let stem = stem(pending.record.step);
        let shard = pending.snapshot.write(&self.folder, &format!("{stem}-0of1"))?;
        let size_bytes = shard.size_bytes;
        let record = CheckpointRecord { shards: vec![shard], size_bytes, ..pending.record.clone() };
        let text = serde_json::to_vec(&record).map_err(|error| self.broken(error.to_string()))?;
        write_durably(&self.folder.join(format!("{stem}.json")), &text)?;
        self.ctx.events().checkpoint(record.clone())?;
        self.forget(record.step, &pending.best)?;
        Ok(record)
    }

    /// Loads the newest whole state of the course that these setbacks left into an optimiser's whole state; none where there is none.
    pub(super) fn restore(
        &self,
        state: &[(String, Tensor)],
        setbacks: &Setbacks,
    ) -> Result<Option<Progress>, TrainError> {
        let records = self.records()?;
        for record in &records {
            let Some((files, progress)) = self.read(record)? else { continue };
            if !setbacks.is_on_course(&progress) {
                self.ctx
                    .events()
                    .log(format!("the state of step {} is of a course that was given up", record.step));
                continue;
            }
            if let Some(step) = self.missing_best(&progress, &records)? {
                self.warn(&format!(
                    "the state of step {}: the best one so far, that of step {step}, is not whole, and the run ends with it",
                    record.step
                ));
                continue;
            }
            load(&files, state)?;
            return Ok(Some(progress));
        }
        if !records.is_empty() {
            self.ctx.events().log("no state is whole: the run begins at its start");
        }
        Ok(None)
    }

    /// Loads the state that becomes the model, where it is not the last one. Returns its step.
    pub(super) fn load_export(
        &self,
        progress: &Progress,
        state: &[(String, Tensor)],
    ) -> Result<u64, TrainError> {
        let Some(metric) = self.export else { return Ok(progress.steps) };
        let Some(best) = best_steps(progress, KeepBest { metric, count: 1 }).first().copied() else {
            return Err(self.broken(format!("no curve {}: nothing says which state is best", metric.name())));
        };
        if best == progress.steps {
            return Ok(best);
        }
        let record = self.records()?.into_iter().find(|record| record.step == best);
        let whole = record.as_ref().map(|record| self.read(record)).transpose()?.flatten();
        let Some((files, _)) = whole else { return Err(TrainError::BestStateLost { step: best }) };
        load(&files, state)?;
        Ok(best)
    }

    /// Whether a state is one of the best up to now.
    pub(super) fn is_best(&self, progress: &Progress) -> bool {
        self.best_of(progress).contains(&progress.steps)
    }

    fn best_of(&self, progress: &Progress) -> BTreeSet<u64> {
        self.params.keep_best.map(|best| best_steps(progress, best).into_iter().collect()).unwrap_or_default()
    }

    /// The step of the best state up to here, where the run ends with it and it is not whole any more.
    fn missing_best(
        &self,
        progress: &Progress,
        records: &[CheckpointRecord],
    ) -> Result<Option<u64>, TrainError> {
        let Some(metric) = self.export else { return Ok(None) };
        let best = best_steps(progress, KeepBest { metric, count: 1 }).first().copied();
        let Some(step) = best.filter(|step| *step < progress.steps) else { return Ok(None) };
        let record = records.iter().find(|record| record.step == step);
        let whole = record.map(|record| self.read(record)).transpose()?.flatten();
        Ok(whole.is_none().then_some(step))
    }

    /// Reads a state; none, with a warning, where it is not whole.
    fn read(&self, record: &CheckpointRecord) -> Result<Option<(StateFiles, Progress)>, TrainError> {
        let files = match StateFiles::read(&self.folder, &record.shards)? {
            Ok(files) => files,
            Err(why) => {
                self.warn(&format!("the state of step {}: {why}", record.step));
                return Ok(None);
            }
        };
        let facts: Facts =
            serde_json::from_str(files.facts()).map_err(|error| files.error(error.to_string()))?;
        if facts.owner != self.owner {
            let (expected, got) = (&self.owner, &facts.owner);
            return Err(files.foreign(format!("expected a state of {expected}, got one of {got}")));
        }
        Ok(Some((files, facts.progress)))
    }

    /// Records, newest first. One that does not parse is none; [`Checkpoints::clean`] told of it.
    fn records(&self) -> Result<Vec<CheckpointRecord>, TrainError> {
        let paths = self.entries()?.into_iter().filter(|path| is_record(path));
        let read: Vec<_> = paths.map(|path| read_record(&path)).collect::<Result<_, _>>()?;
        let mut records: Vec<CheckpointRecord> = read.into_iter().flatten().collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.step));
        Ok(records)
    }

    /// What is in the folder, in the order of names.
    fn entries(&self) -> Result<Vec<PathBuf>, TrainError> {
        let wrap = |error| JobError::io(&self.folder, error);
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(wrap)? {
            paths.push(entry.map_err(wrap)?.path());
        }
        paths.sort();
        Ok(paths)
    }

    /// Removes what a write that was cut left: files that are not whole, and files of states that have no record. Tells of records that are
    /// damaged.
    fn clean(&self) -> Result<(), TrainError> {
        for path in self.entries()?.into_iter().filter(|path| is_record(path)) {
            if let Err(why) = read_record(&path)? {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                self.warn(&format!("the record {name}: {why}"));
            }
        }
        let known: BTreeSet<String> =
            self.records()?.into_iter().flat_map(|record| record.shards).map(|shard| shard.file).collect();
        for path in self.entries()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_cut = path.extension().is_some_and(|extension| extension == PARTIAL);
            let is_lone = is_state(&path) && !known.contains(&name);
            if is_cut || is_lone {
                self.ctx.events().log(format!("removes {name}, which a write that was cut left"));
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Removes all but the newest states and the best ones, of those up to `newest`.
    fn forget(&self, newest: u64, best: &BTreeSet<u64>) -> Result<(), TrainError> {
        let mut of_this_course = self.records()?;
        of_this_course.retain(|record| record.step <= newest);
        let keep = self.params.keep.max(1) as usize;
        for record in of_this_course.iter().skip(keep).filter(|record| !best.contains(&record.step)) {
            remove(&self.folder.join(format!("{}.json", stem(record.step))))?;
        }
        let kept: Vec<StateShard> = self.records()?.into_iter().flat_map(|record| record.shards).collect();
        for path in self.entries()?.into_iter().filter(|path| is_state(path)) {
            if kept.iter().all(|shard| self.folder.join(&shard.file) != path) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn warn(&self, message: &str) {
        self.ctx.events().warning("checkpoint_damaged", format!("{message}; an older one is taken"));
    }

    fn broken(&self, message: String) -> TrainError {
        TrainError::Data { path: self.folder.clone(), message }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stage {:?} of step {:?}", self.stage, self.fingerprint)
    }
}

fn stem(step: u64) -> String {
    format!("step-{step:012}")
}

fn is_record(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("step-") && path.extension().is_some_and(|extension| extension == "json")
}

fn is_state(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("step-") && path.extension().is_some_and(|extension| extension == "safetensors")
}

/// A record; why it is none where it is damaged.
fn read_record(path: &Path) -> Result<Result<CheckpointRecord, String>, TrainError> {
    match std::fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text).map_err(|error| error.to_string())),
        Err(error) if is_damage(&error) => Ok(Err(error.to_string())),
        Err(error) => Err(JobError::io(path, error).into()),
    }
}

fn remove(path: &Path) -> Result<(), TrainError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(JobError::io(path, error).into()),
        _ => Ok(()),
    }
}

/// Loads a state's tensors into an optimiser's weights and moments.
fn load(files: &StateFiles, state: &[(String, Tensor)]) -> Result<(), TrainError> {
    let whole = state.iter().map(|(name, tensor)| StatePart::whole((name.clone(), tensor.shallow_clone())));
    let mut parts: Vec<StatePart> = whole.collect();
    files.load_into(&mut parts)
}

/// Steps of the best evaluations up to now, the best first; of equal ones the earlier.
fn best_steps(progress: &Progress, best: KeepBest) -> Vec<u64> {
    let better = |metric: BestMetric, a: f64, b: f64| metric.is_better(a, b);
    let mut points: Vec<CurvePoint> = progress.curves.get(best.metric.name()).cloned().unwrap_or_default();
    points.sort_by(|a, b| {
        match (better(best.metric, a.value, b.value), better(best.metric, b.value, a.value)) {
            (true, _) => std::cmp::Ordering::Less,
            (_, true) => std::cmp::Ordering::Greater,
            _ => a.step.cmp(&b.step),
        }
    });
    points.into_iter().take(best.count as usize).map(|point| point.step).collect()
}

impl Progress {
    /// Before the first step.
    pub(super) fn start() -> Self {
        Self {
            steps: 0,
            tokens: 0,
            data_cursor: 0,
            owes_evaluation: false,
            curves: BTreeMap::new(),
            setbacks: Setbacks::default(),
        }
    }

    /// How often the optimiser has moved the weights.
    pub(super) fn updates(&self) -> u64 {
        self.steps - self.setbacks.left_out.range(..self.steps).count() as u64
    }

    /// The curves, to go on with.
    pub(super) fn curves(&self) -> Curves {
        Curves(self.curves.clone())
    }
}
