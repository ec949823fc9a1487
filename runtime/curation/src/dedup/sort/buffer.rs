//! Records on their way to run files.

use std::path::{Path, PathBuf};

use rayon::slice::ParallelSliceMut;

use super::budget::Budget;
use super::record::Record;
use super::run::{Durability, RunWriter};
use crate::dedup::error::DedupError;

/// Records a buffer begins with room for.
const FIRST_RECORDS: usize = 256;

/// Gathers records, and writes them as a run where they are too many.
#[derive(Debug)]
pub(super) struct Buffer<R> {
    folder: PathBuf,
    prefix: String,
    settings: u64,
    budget: Budget,
    durability: Durability,
    records: Vec<R>,
    heap_bytes: usize,
    runs: Vec<PathBuf>,
    num_records: u64,
}

impl<R: Record> Buffer<R> {
    /// An empty buffer whose runs are `PREFIX-NUMBER.run` in the folder.
    pub(super) fn new(
        folder: &Path,
        prefix: String,
        settings: u64,
        (budget, durability): (Budget, Durability),
    ) -> Self {
        Self {
            folder: folder.to_path_buf(),
            prefix,
            settings,
            budget,
            durability,
            records: Vec::new(),
            heap_bytes: 0,
            runs: Vec::new(),
            num_records: 0,
        }
    }

    /// Adds a record.
    pub(super) fn push(&mut self, record: R) -> Result<(), DedupError> {
        let most = (self.budget.buffer_bytes() / size_of::<R>().max(1)).max(2);
        let is_full = self.records.len() >= most || self.heap_bytes >= self.budget.buffer_bytes();
        if is_full && !self.records.is_empty() {
            self.write_run()?;
        }
        // A vector that doubles by itself could take twice the budget.
        if self.records.len() == self.records.capacity() {
            let more = self.records.len().max(FIRST_RECORDS).min(most - self.records.len());
            self.records.reserve_exact(more.max(1));
        }
        self.heap_bytes += record.heap_bytes() + record.heap_bytes() / 8;
        self.records.push(record);
        self.num_records += 1;
        Ok(())
    }

    /// Writes what is held; gives the runs and the number of all records.
    pub(super) fn into_runs(mut self) -> Result<(Vec<PathBuf>, u64), DedupError> {
        if !self.records.is_empty() {
            self.write_run()?;
        }
        Ok((self.runs, self.num_records))
    }

    /// The runs, and in order what was not written.
    pub(super) fn into_runs_and_rest(mut self) -> (Vec<PathBuf>, Vec<R>) {
        self.records.par_sort_unstable();
        (self.runs, self.records)
    }

    fn write_run(&mut self) -> Result<(), DedupError> {
        self.records.par_sort_unstable();
        let path = self.folder.join(format!("{}-{:06}.run", self.prefix, self.runs.len()));
        let form = (self.budget.block_bytes(), self.durability);
        let mut writer = RunWriter::create::<R>(&path, self.settings, form)?;
        for record in &self.records {
            writer.push(record)?;
        }
        writer.finish()?;
        self.runs.push(path);
        self.records.clear();
        self.heap_bytes = 0;
        Ok(())
    }
}
