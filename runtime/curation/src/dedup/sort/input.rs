//! The sort that a later run can go on from.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::budget::Budget;
use super::buffer::Buffer;
use super::marker::{Marker, prefix_of};
use super::merge::Sorted;
use super::record::Record;
use super::run::Durability;
use crate::dedup::error::DedupError;

/// Sorts the records of any number of inputs in a folder of its own. One process works on a folder at a time.
#[derive(Debug)]
pub struct Sorter<R> {
    folder: PathBuf,
    settings: u64,
    budget: Budget,
    /// By name: the marker of a finished input; none for one that is open.
    inputs: Mutex<BTreeMap<String, Option<Marker>>>,
    kind: PhantomData<R>,
}

impl<R: Record> Sorter<R> {
    /// Opens the folder, made where it does not exist. `settings` is a fingerprint of all that decides what the records are: a folder
    /// with records of other settings is an error.
    pub fn open(folder: &Path, budget: Budget, settings: u64) -> Result<Self, DedupError> {
        std::fs::create_dir_all(folder).map_err(DedupError::io(folder))?;
        let names = names_in(folder)?;
        let mut inputs = BTreeMap::new();
        for name in names.iter().filter(|name| has_extension(name, "done")) {
            let path = folder.join(name);
            let marker = Marker::read(&path)?;
            check::<R>(&path, settings, &marker)?;
            inputs.insert(marker.name.clone(), Some(marker));
        }
        let sorter = Self {
            folder: folder.to_path_buf(),
            settings,
            budget,
            inputs: Mutex::new(inputs),
            kind: PhantomData,
        };
        sorter.remove_unfinished(&names)?;
        Ok(sorter)
    }

    /// Begins an input; none where it was finished, by this run or one before it.
    pub fn input(&self, name: &str) -> Result<Option<Input<'_, R>>, DedupError> {
        let mut inputs = self.inputs();
        match inputs.get(name) {
            Some(Some(_)) => return Ok(None),
            Some(None) => return Err(DedupError::OpenTwice { name: name.to_owned() }),
            None => inputs.insert(name.to_owned(), None),
        };
        let form = (self.budget, Durability::Synced);
        let buffer = Buffer::new(&self.folder, prefix_of(name), self.settings, form);
        Ok(Some(Input { sorter: self, name: name.to_owned(), buffer: Some(buffer) }))
    }

    /// All records of finished inputs, in order.
    pub fn sorted(&self) -> Result<Sorted<R>, DedupError> {
        let inputs = self.inputs();
        let runs = inputs.values().flatten().flat_map(|marker| marker.runs(&self.folder)).collect();
        drop(inputs);
        Sorted::narrowed(&self.folder, runs, self.settings, (self.budget, Durability::Synced))
    }

    /// Records of finished inputs.
    pub fn num_records(&self) -> u64 {
        self.inputs().values().flatten().map(|marker| marker.num_records).sum()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The memory it may take.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    fn inputs(&self) -> MutexGuard<'_, BTreeMap<String, Option<Marker>>> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes files that an earlier run began and did not finish.
    fn remove_unfinished(&self, names: &[String]) -> Result<(), DedupError> {
        let finished: BTreeSet<String> = self.inputs().keys().map(|name| prefix_of(name)).collect();
        for name in names {
            let is_run = name.starts_with("in-") && has_extension(name, "run");
            let is_finished = name.rsplit_once('-').is_some_and(|(prefix, _)| finished.contains(prefix));
            if has_extension(name, "tmp") || is_run && !is_finished {
                let path = self.folder.join(name);
                std::fs::remove_file(&path).map_err(DedupError::io(&path))?;
            }
        }
        Ok(())
    }
}

/// Names of files in a folder, in order.
fn names_in(folder: &Path) -> Result<Vec<String>, DedupError> {
    let entries = std::fs::read_dir(folder).map_err(DedupError::io(folder))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(DedupError::io(folder))?;
        names.extend(entry.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == extension)
}

fn check<R: Record>(path: &Path, settings: u64, marker: &Marker) -> Result<(), DedupError> {
    let expected = (R::KIND.escape_ascii().to_string(), settings);
    let got = (marker.kind.clone(), marker.settings);
    if expected == got {
        return Ok(());
    }
    let shown = |(kind, settings): (String, u64)| format!("kind {kind}, settings {settings:016x}");
    Err(DedupError::OtherWork { path: path.to_path_buf(), expected: shown(expected), got: shown(got) })
}

/// One input of a [`Sorter`]. What it was given counts once it is finished; dropped before, it counts for nothing.
#[derive(Debug)]
pub struct Input<'a, R: Record> {
    sorter: &'a Sorter<R>,
    name: String,
    /// None once it is finished.
    buffer: Option<Buffer<R>>,
}

impl<R: Record> Input<'_, R> {
    /// Adds a record.
    pub fn push(&mut self, record: R) -> Result<(), DedupError> {
        self.buffer.as_mut().map_or(Ok(()), |buffer| buffer.push(record))
    }

    /// Writes the input's records for good.
    pub fn finish(mut self) -> Result<(), DedupError> {
        let Some(buffer) = self.buffer.take() else { return Ok(()) };
        let written = buffer.into_runs().and_then(|(runs, num_records)| {
            let marker = Marker {
                kind: R::KIND.escape_ascii().to_string(),
                settings: self.sorter.settings,
                name: self.name.clone(),
                num_runs: runs.len(),
                num_records,
            };
            marker.write(&self.sorter.folder).map(|()| marker)
        });
        let mut inputs = self.sorter.inputs();
        match written {
            Ok(marker) => {
                inputs.insert(self.name.clone(), Some(marker));
                Ok(())
            }
            Err(error) => {
                inputs.remove(&self.name);
                Err(error)
            }
        }
    }
}

impl<R: Record> Drop for Input<'_, R> {
    fn drop(&mut self) {
        if self.buffer.is_some() {
            self.sorter.inputs().remove(&self.name);
        }
    }
}
