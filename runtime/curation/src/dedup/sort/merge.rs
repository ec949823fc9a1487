//! Runs merged into one order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::budget::Budget;
use super::record::Record;
use super::run::{Durability, RunReader, RunWriter};
use super::spill::ScratchFolder;
use crate::dedup::error::DedupError;

/// Records in order; they can be gone through any number of times.
#[derive(Debug, Clone)]
pub struct Sorted<R> {
    runs: Vec<PathBuf>,
    settings: u64,
    rest: Arc<Vec<R>>,
    folder: Option<Arc<ScratchFolder>>,
}

impl<R: Record> Sorted<R> {
    /// Merges runs until no more are left than a merge may read.
    pub(super) fn narrowed(
        folder: &Path,
        mut runs: Vec<PathBuf>,
        settings: u64,
        (budget, durability): (Budget, Durability),
    ) -> Result<Self, DedupError> {
        while runs.len() > budget.fan_in() {
            let mut merged = Vec::with_capacity(runs.len() / budget.fan_in() + 1);
            for group in runs.chunks(budget.fan_in()) {
                let form = (budget.block_bytes(), durability);
                merged.push(merge_into_one::<R>(folder, group, settings, form)?);
            }
            runs = merged;
        }
        Ok(Self { runs, settings, rest: Arc::default(), folder: None })
    }

    /// Adds records in memory, and keeps the folder for as long as there is a reader.
    pub(super) fn with_rest(self, rest: Vec<R>, folder: Arc<ScratchFolder>) -> Self {
        Self { rest: Arc::new(rest), folder: Some(folder), ..self }
    }

    /// Goes through the records, equal ones as often as they came.
    pub fn records(&self) -> Result<Merge<R>, DedupError> {
        let mut sources = Vec::with_capacity(self.runs.len() + 1);
        for run in &self.runs {
            sources.push(Source::Run(Box::new(RunReader::open(run, self.settings)?)));
        }
        sources.push(Source::Memory { records: Arc::clone(&self.rest), at: 0 });
        let mut heap = BinaryHeap::with_capacity(sources.len());
        for (source, reader) in sources.iter_mut().enumerate() {
            heap.extend(reader.next()?.map(|record| Reverse(Head { record, source })));
        }
        Ok(Merge { heap, sources, _folder: self.folder.clone() })
    }

    /// Goes through the records, equal ones once.
    pub fn distinct(&self) -> Result<Distinct<R>, DedupError> {
        Ok(Distinct { merge: self.records()?, last: None })
    }
}

/// Merges a group of runs. The name follows from theirs, so that a merge that was done is not done again.
fn merge_into_one<R: Record>(
    folder: &Path,
    group: &[PathBuf],
    settings: u64,
    form: (usize, Durability),
) -> Result<PathBuf, DedupError> {
    if let [only] = group {
        return Ok(only.clone());
    }
    let mut names = Xxh3::new();
    for run in group {
        names.update(run.file_name().unwrap_or_default().as_encoded_bytes());
        names.update(b"\0");
    }
    let path = folder.join(format!("merged-{:032x}.run", names.digest128()));
    if path.exists() {
        return Ok(path);
    }
    let sorted = Sorted::<R> { runs: group.to_vec(), settings, rest: Arc::default(), folder: None };
    let mut writer = RunWriter::create::<R>(&path, settings, form)?;
    for record in sorted.records()? {
        writer.push(&record?)?;
    }
    writer.finish()?;
    if form.1 == Durability::Scratch {
        for run in group {
            std::fs::remove_file(run).map_err(DedupError::io(run))?;
        }
    }
    Ok(path)
}

/// A record and where the next of its run comes from.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head<R> {
    record: R,
    source: usize,
}

#[derive(Debug)]
enum Source<R> {
    Run(Box<RunReader<R>>),
    Memory { records: Arc<Vec<R>>, at: usize },
}

impl<R: Record> Source<R> {
    fn next(&mut self) -> Result<Option<R>, DedupError> {
        match self {
            Self::Run(reader) => reader.next(),
            Self::Memory { records, at } => {
                *at += 1;
                Ok(records.get(*at - 1).cloned())
            }
        }
    }
}

/// Gives records in order. It ends behind an error.
#[derive(Debug)]
pub struct Merge<R> {
    heap: BinaryHeap<Reverse<Head<R>>>,
    sources: Vec<Source<R>>,
    _folder: Option<Arc<ScratchFolder>>,
}

impl<R: Record> Iterator for Merge<R> {
    type Item = Result<R, DedupError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut top = self.heap.peek_mut()?;
        match self.sources[top.0.source].next() {
            Ok(Some(record)) => Some(Ok(std::mem::replace(&mut top.0.record, record))),
            Ok(None) => Some(Ok(PeekMut::pop(top).0.record)),
            Err(error) => {
                drop(top);
                self.heap.clear();
                Some(Err(error))
            }
        }
    }
}

/// Gives records in order, equal ones once.
#[derive(Debug)]
pub struct Distinct<R> {
    merge: Merge<R>,
    last: Option<R>,
}

impl<R: Record> Iterator for Distinct<R> {
    type Item = Result<R, DedupError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.merge.next()? {
                Ok(record) if self.last.as_ref() == Some(&record) => {}
                Ok(record) => {
                    self.last = Some(record.clone());
                    return Some(Ok(record));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
