//! The database: the one module that touches sled. It projects the journal, so losing it loses nothing.
//!
//! sled 0.34.7 panics on some damage, hence the guard around opening; it keeps no value over 64 KiB here, and no I/O happens inside a
//! transaction. Each group of journal records is one transaction over all trees, flushed before it returns.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sled::Transactional;
use sled::transaction::{ConflictableTransactionError, TransactionError, TransactionalTree};

use super::{Fact, MetricSeries, Projection, Record, StateError};

const TREES: [&str; 6] = ["meta", "runs", "steps", "attempts", "artifacts", "notes"];
const HEAD: &[u8] = b"head";
const MAX_VALUE: usize = 64 << 10;

/// The open database.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    db: sled::Db,
    trees: [sled::Tree; 6],
    events: sled::Tree,
}

/// A row to write: the tree's index, the key, and the value or none to delete it.
type Row = (usize, Vec<u8>, Option<Vec<u8>>);

impl Database {
    /// Opens or makes the database at `path`.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let opened = catch_unwind(AssertUnwindSafe(|| -> sled::Result<Self> {
            let db = sled::Config::new().path(path).cache_capacity(16 << 20).flush_every_ms(None).open()?;
            let mut trees = Vec::with_capacity(TREES.len());
            for name in TREES {
                trees.push(db.open_tree(name)?);
            }
            let trees = trees.try_into().map_err(|_| sled::Error::Unsupported("tree count".to_owned()))?;
            let events = db.open_tree("events")?;
            Ok(Self { path: path.to_path_buf(), db, trees, events })
        }));
        match opened {
            Ok(Ok(database)) => Ok(database),
            Ok(Err(error)) => Err(failed(path, &error.to_string())),
            Err(_) => Err(failed(path, "it panicked while opening")),
        }
    }

    /// Sequence number and chain of the newest record that it holds.
    pub fn head(&self) -> Result<Option<(u64, [u8; 32])>, StateError> {
        let value = self.trees[0].get(HEAD).map_err(|error| failed(&self.path, &error.to_string()))?;
        Ok(value.and_then(|bytes| {
            let seq = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
            Some((seq, bytes.get(8..40)?.try_into().ok()?))
        }))
    }

    /// Writes what `records` changed, in one flushed transaction; `projection` has them folded in already.
    pub fn project(
        &self,
        records: &[Record],
        projection: &Projection,
        chain: [u8; 32],
    ) -> Result<(), StateError> {
        let mut rows: Vec<Row> = Vec::new();
        for record in records {
            rows.extend(rows_of(&record.fact, projection)?);
        }
        let mut head = projection.seq().to_be_bytes().to_vec();
        head.extend_from_slice(&chain);
        rows.push((0, HEAD.to_vec(), Some(head)));
        self.write(&rows)
    }

    fn write(&self, rows: &[Row]) -> Result<(), StateError> {
        let body = |trees: &Vec<TransactionalTree>| -> Result<(), ConflictableTransactionError<()>> {
            for (tree, key, value) in rows {
                match value {
                    Some(value) => trees[*tree].insert(key.as_slice(), value.as_slice())?,
                    None => trees[*tree].remove(key.as_slice())?,
                };
            }
            Ok(())
        };
        let trees: &[sled::Tree] = &self.trees;
        let done = trees.transaction(body).map_err(|error| match error {
            TransactionError::Abort(()) => failed(&self.path, "a transaction was aborted"),
            TransactionError::Storage(error) => failed(&self.path, &error.to_string()),
        });
        done.and_then(|()| self.flush())
    }

    /// How far the events of an attempt are read.
    pub fn event_offset(&self, attempt: &str) -> Result<u64, StateError> {
        Ok(self.event_row(attempt, "offset")?.unwrap_or(0))
    }

    /// Writes how far the events of an attempt are read, and its curves.
    pub fn save_events(
        &self,
        attempt: &str,
        offset: u64,
        curves: &[(String, MetricSeries)],
    ) -> Result<(), StateError> {
        let mut batch = sled::Batch::default();
        batch.insert(format!("{attempt}\0offset").as_bytes(), serde_json::to_vec(&offset)?);
        for (name, series) in curves {
            let value = serde_json::to_vec(series)?;
            if value.len() <= MAX_VALUE {
                batch.insert(format!("{attempt}\0metric\0{name}").as_bytes(), value);
            }
        }
        self.events.apply_batch(batch).map_err(|error| failed(&self.path, &error.to_string()))?;
        self.flush()
    }

    /// A curve of an attempt.
    pub fn curve(&self, attempt: &str, name: &str) -> Result<Option<MetricSeries>, StateError> {
        self.event_row(attempt, &format!("metric\0{name}"))
    }

    /// Rows in each tree, for `doctor`.
    pub fn counts(&self) -> Vec<(&'static str, usize)> {
        TREES.iter().copied().zip(self.trees.iter().map(sled::Tree::len)).collect()
    }

    /// Whether each row that the projection gives is here with the same value.
    pub fn agrees_with(&self, records: &[Record], projection: &Projection) -> Result<bool, StateError> {
        for record in records {
            for (tree, key, value) in rows_of(&record.fact, projection)? {
                let stored =
                    self.trees[tree].get(&key).map_err(|error| failed(&self.path, &error.to_string()))?;
                if stored.as_deref() != value.as_deref() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn event_row<T: DeserializeOwned>(&self, attempt: &str, key: &str) -> Result<Option<T>, StateError> {
        let key = format!("{attempt}\0{key}");
        let value = self.events.get(key).map_err(|error| failed(&self.path, &error.to_string()))?;
        Ok(value.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    fn flush(&self) -> Result<(), StateError> {
        self.db.flush().map(|_| ()).map_err(|error| failed(&self.path, &error.to_string()))
    }
}

/// The rows that a fact changes, with the values that the projection has now.
fn rows_of(fact: &Fact, projection: &Projection) -> Result<Vec<Row>, StateError> {
    let mut rows = Vec::new();
    let (run, step) = touched(fact);
    if let Some(view) = run.and_then(|run| projection.run(run)) {
        if let Some(step) = step.and_then(|step| view.step(step)) {
            rows.push((2, key(&[&view.id, &step.name]), row(step)?));
            for attempt in projection.attempts(&step.fingerprint) {
                rows.push((3, key(&[&step.fingerprint, &attempt.token]), row(attempt)?));
            }
        } else {
            let mut bare = view.clone();
            bare.steps.clear();
            rows.push((1, key(&[&view.id]), row(&bare)?));
        }
    }
    match fact {
        Fact::ArtifactCommitted(artifact) => {
            rows.push((4, key(&[&artifact.fingerprint]), artifact_row(projection, &artifact.fingerprint)?));
            rows.push(checkpoint_row(projection, &artifact.fingerprint)?);
        }
        Fact::ArtifactDeleted { fingerprint } => {
            rows.push((4, key(&[fingerprint]), artifact_row(projection, fingerprint)?));
        }
        Fact::CheckpointSaved { fingerprint, .. } => {
            rows.push(checkpoint_row(projection, fingerprint)?);
        }
        Fact::Noted { topic, key: name, .. } => {
            rows.push((5, key(&[topic, name]), projection.note(topic, name).map(row).transpose()?.flatten()));
        }
        _ => {}
    }
    Ok(rows)
}

fn checkpoint_row(projection: &Projection, fingerprint: &str) -> Result<Row, StateError> {
    let value = projection.checkpoint(fingerprint).map(row).transpose()?.flatten();
    Ok((0, key(&["checkpoint", fingerprint]), value))
}

fn artifact_row(projection: &Projection, fingerprint: &str) -> Result<Option<Vec<u8>>, StateError> {
    Ok(projection.artifacts().get(fingerprint).map(row).transpose()?.flatten())
}

fn touched(fact: &Fact) -> (Option<&str>, Option<&str>) {
    match fact {
        Fact::RunCreated { run, .. } | Fact::RunMoved { run, .. } => (Some(run), None),
        Fact::StepPlanned(step) => (Some(&step.run), Some(&step.name)),
        Fact::ArtifactCommitted(artifact) => (Some(&artifact.run), Some(&artifact.step)),
        Fact::AttemptIntended { run, step, .. }
        | Fact::AttemptStarted { run, step, .. }
        | Fact::AttemptAdopted { run, step, .. }
        | Fact::AttemptUnknown { run, step, .. }
        | Fact::AttemptEnded { run, step, .. }
        | Fact::CommitIntended { run, step, .. }
        | Fact::StepMoved { run, step, .. } => (Some(run), Some(step)),
        Fact::Opened { .. }
        | Fact::CheckpointSaved { .. }
        | Fact::ArtifactDeleted { .. }
        | Fact::Noted { .. } => (None, None),
    }
}

fn key(parts: &[&str]) -> Vec<u8> {
    parts.join("\0").into_bytes()
}

/// A value as it is stored; one that is too large stays in the journal alone.
fn row(value: &impl Serialize) -> Result<Option<Vec<u8>>, StateError> {
    let bytes = serde_json::to_vec(value)?;
    Ok((bytes.len() <= MAX_VALUE).then_some(bytes))
}

fn failed(path: &Path, problem: &str) -> StateError {
    StateError::Database { path: path.to_path_buf(), problem: problem.to_owned() }
}
