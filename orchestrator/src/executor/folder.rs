//! The attempt's folder: what is written before the shim starts.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::de::DeserializeOwned;

use super::shim::JOB_FILE;
use super::{AttemptRef, ExecutorError, WorkOrder};

/// The numbers of the devices that the attempt was given.
const DEVICES_FILE: &str = "devices.json";

/// Writes the attempt's folder: the staging folder, source list, devices, and the job file last.
pub(super) fn prepare(attempt: &AttemptRef, order: &WorkOrder<'_>) -> Result<(), ExecutorError> {
    let job = &order.job;
    if job.staging.exists() {
        std::fs::remove_dir_all(&job.staging).map_err(ExecutorError::io(&job.staging))?;
    }
    for folder in [&attempt.dir, &job.staging] {
        std::fs::create_dir_all(folder).map_err(ExecutorError::io(folder))?;
    }
    if !order.sources.is_empty() {
        write_sources(order).map_err(ExecutorError::io(&job.sources))?;
    }
    if !order.devices.is_empty() {
        write_json(&attempt.dir.join(DEVICES_FILE), &order.devices)?;
    }
    write_json(&attempt.dir.join(JOB_FILE), job)
}

fn write_sources(order: &WorkOrder<'_>) -> std::io::Result<()> {
    let mut writer = BufWriter::new(File::create(&order.job.sources)?);
    for source in order.sources {
        serde_json::to_writer(&mut writer, source)?;
        writer.write_all(b"\n")?;
    }
    writer.flush()
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), ExecutorError> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|error| ExecutorError::Encode { path: path.to_path_buf(), problem: error.to_string() })?;
    std::fs::write(path, text).map_err(ExecutorError::io(path))
}

/// The devices of a prepared attempt.
pub(super) fn devices_of(attempt: &AttemptRef) -> Vec<u32> {
    read_json(&attempt.dir.join(DEVICES_FILE)).ok().flatten().unwrap_or_default()
}

/// Reads a file of the contract; none where it is not there.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ExecutorError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| ExecutorError::Encode { path: path.to_path_buf(), problem: error.to_string() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ExecutorError::Io { path: path.to_path_buf(), source }),
    }
}
