//! Resumable states: one safetensors file and, once that is durable, a record with its hash. A state without a matching record does
//! not exist.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use cupola_specs::artifact::CurvePoint;
use cupola_specs::contract::CheckpointRecord;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::setback::Setbacks;
use super::{Curves, Optimizer, TrainError};
use crate::job::{JobError, write_durably};

/// What a state holds beside the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Optimiser steps done.
    pub(super) steps: u64,
    /// Tokens that carried loss so far.
    pub(super) tokens: u64,
    /// Rows of the data order read.
    pub(super) data_cursor: u64,
    /// Curves so far.
    pub(super) curves: BTreeMap<String, Vec<CurvePoint>>,
    /// Setbacks so far.
    #[serde(default)]
    pub(super) setbacks: Setbacks,
}

/// The checkpoint folder of one step.
#[derive(Debug)]
pub(super) struct Checkpoints {
    folder: PathBuf,
    keep: u64,
}

impl Checkpoints {
    /// A folder that keeps the newest `keep` states.
    pub(super) fn open(folder: &Path, keep: u64) -> Result<Self, TrainError> {
        std::fs::create_dir_all(folder).map_err(|error| JobError::io(folder, error))?;
        Ok(Self { folder: folder.to_path_buf(), keep: keep.max(1) })
    }

    /// Saves a state and forgets the oldest ones.
    pub(super) fn save(
        &self,
        progress: &Progress,
        optimizer: &Optimizer,
    ) -> Result<CheckpointRecord, TrainError> {
        let name = format!("step-{:012}.safetensors", progress.steps);
        let path = self.folder.join(&name);
        let bytes = to_bytes(&path, progress, optimizer)?;
        write_durably(&path, &bytes)?;
        let record = CheckpointRecord {
            step: progress.steps,
            data_cursor: progress.data_cursor,
            file: name,
            blake3: blake3::hash(&bytes).to_hex().to_string(),
            size_bytes: bytes.len() as u64,
        };
        let text = serde_json::to_vec(&record).map_err(|error| broken(&path, error.to_string()))?;
        write_durably(&path.with_extension("json"), &text)?;
        self.forget(progress.steps)?;
        Ok(record)
    }

    /// Loads the newest whole state of the course that these setbacks left into the optimiser's weights and moments; none where there is
    /// none.
    pub(super) fn restore(
        &self,
        optimizer: &mut Optimizer,
        setbacks: &Setbacks,
    ) -> Result<Option<Progress>, TrainError> {
        for record in self.records()? {
            let path = self.folder.join(&record.file);
            let Ok(bytes) = std::fs::read(&path) else { continue };
            if blake3::hash(&bytes).to_hex().as_str() != record.blake3 {
                continue;
            }
            let progress = progress_of(&path, &bytes)?;
            if setbacks.is_on_course(&progress) {
                load(&path, &bytes, optimizer)?;
                optimizer.set_steps(progress.updates());
                return Ok(Some(progress));
            }
        }
        Ok(None)
    }

    /// Records, newest first. A record that does not parse was cut while it was written and counts as none.
    fn records(&self) -> Result<Vec<CheckpointRecord>, TrainError> {
        let mut records = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(|error| JobError::io(&self.folder, error))? {
            let path = entry.map_err(|error| JobError::io(&self.folder, error))?.path();
            let is_record = path.extension().is_some_and(|extension| extension == "json")
                && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("step-"));
            if is_record {
                let text = std::fs::read(&path).map_err(|error| JobError::io(&path, error))?;
                records.extend(serde_json::from_slice::<CheckpointRecord>(&text));
            }
        }
        records.sort_by_key(|record| std::cmp::Reverse(record.step));
        Ok(records)
    }

    fn forget(&self, newest: u64) -> Result<(), TrainError> {
        for record in
            self.records()?.into_iter().filter(|record| record.step <= newest).skip(self.keep as usize)
        {
            let path = self.folder.join(&record.file);
            for path in [path.with_extension("json"), path] {
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(JobError::io(&path, error).into());
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn broken(path: &Path, message: impl Into<String>) -> TrainError {
    TrainError::Data { path: path.to_path_buf(), message: message.into() }
}

fn to_bytes(path: &Path, progress: &Progress, optimizer: &Optimizer) -> Result<Vec<u8>, TrainError> {
    let mut buffers = Vec::new();
    for (name, tensor) in optimizer.state() {
        let shape: Vec<usize> = tensor.size().iter().map(|&size| size as usize).collect();
        let flat = tensor.to_device(Device::Cpu).contiguous().view([-1]);
        let mut bytes = vec![0u8; flat.numel() * Kind::Float.elt_size_in_bytes()];
        flat.f_copy_data_u8(&mut bytes, flat.numel())?;
        buffers.push((name, shape, bytes));
    }
    let mut views = Vec::with_capacity(buffers.len());
    for (name, shape, bytes) in &buffers {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes)
            .map_err(|error| broken(path, error.to_string()))?;
        views.push((name.as_str(), view));
    }
    let progress = serde_json::to_string(progress).map_err(|error| broken(path, error.to_string()))?;
    serialize(views, Some(HashMap::from([("progress".to_owned(), progress)])))
        .map_err(|error| broken(path, error.to_string()))
}

/// What a state holds beside the tensors.
fn progress_of(path: &Path, bytes: &[u8]) -> Result<Progress, TrainError> {
    let wrong = |message: String| broken(path, message);
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| wrong(error.to_string()))?;
    let text = header.metadata().as_ref().and_then(|facts| facts.get("progress"));
    let text = text.ok_or_else(|| wrong("no progress in the header".into()))?;
    serde_json::from_str(text).map_err(|error| wrong(error.to_string()))
}

/// Loads a state's tensors into the optimiser's weights and moments.
fn load(path: &Path, bytes: &[u8], optimizer: &mut Optimizer) -> Result<(), TrainError> {
    let wrong = |message: String| broken(path, message);
    let file = SafeTensors::deserialize(bytes).map_err(|error| wrong(error.to_string()))?;
    for (name, mut tensor) in optimizer.state() {
        let view = file.tensor(&name).map_err(|_| wrong(format!("no tensor {name}")))?;
        let size: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
        if size != tensor.size() {
            return Err(wrong(format!("tensor {name}: expected shape {:?}, got {size:?}", tensor.size())));
        }
        let saved = Tensor::f_from_data_size(view.data(), &size, Kind::Float)?;
        tch::no_grad(|| tensor.f_copy_(&saved))?;
    }
    Ok(())
}

impl Progress {
    /// Before the first step.
    pub(super) fn start() -> Self {
        Self { steps: 0, tokens: 0, data_cursor: 0, curves: BTreeMap::new(), setbacks: Setbacks::default() }
    }

    /// How often the optimiser has moved the weights.
    fn updates(&self) -> u64 {
        self.steps - self.setbacks.left_out.range(..self.steps).count() as u64
    }

    /// The curves, to go on with.
    pub(super) fn curves(&self) -> Curves {
        Curves(self.curves.clone())
    }
}
