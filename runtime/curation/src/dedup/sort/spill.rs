//! The sort whose records are made again after a crash.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::budget::Budget;
use super::buffer::Buffer;
use super::merge::Sorted;
use super::record::Record;
use super::run::Durability;
use crate::dedup::error::DedupError;

/// Sorts records between two passes: in memory where they fit the budget, in a folder of its own where they do not. The folder is
/// emptied at the beginning and removed with the last reader.
#[derive(Debug)]
pub struct Spill<R> {
    folder: Arc<ScratchFolder>,
    budget: Budget,
    buffer: Buffer<R>,
    kind: PhantomData<R>,
}

/// A folder that is removed with its last user.
#[derive(Debug)]
pub(super) struct ScratchFolder(PathBuf);

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // What is left is in nobody's way: the next run removes it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl<R: Record> Spill<R> {
    /// An empty sort.
    pub fn new(folder: &Path, budget: Budget) -> Result<Self, DedupError> {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(DedupError::Io { path: folder.to_path_buf(), source: error });
            }
            _ => std::fs::create_dir_all(folder).map_err(DedupError::io(folder))?,
        }
        let buffer = Buffer::new(folder, "spill".into(), 0, (budget, Durability::Scratch));
        let folder = Arc::new(ScratchFolder(folder.to_path_buf()));
        Ok(Self { folder, budget, buffer, kind: PhantomData })
    }

    /// Adds a record.
    pub fn push(&mut self, record: R) -> Result<(), DedupError> {
        self.buffer.push(record)
    }

    /// All records, in order.
    pub fn sorted(self) -> Result<Sorted<R>, DedupError> {
        let (runs, rest) = self.buffer.into_runs_and_rest();
        let form = (self.budget, Durability::Scratch);
        let sorted = Sorted::narrowed(&self.folder.0, runs, 0, form)?;
        Ok(sorted.with_rest(rest, self.folder))
    }

    /// All records, in order, none of them held in memory.
    pub fn sorted_on_disk(self) -> Result<Sorted<R>, DedupError> {
        let (runs, _) = self.buffer.into_runs()?;
        let form = (self.budget, Durability::Scratch);
        let sorted = Sorted::narrowed(&self.folder.0, runs, 0, form)?;
        Ok(sorted.with_rest(Vec::new(), self.folder))
    }
}
