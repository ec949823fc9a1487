//! The database: the one module that touches sled. It projects the journal, so losing it loses nothing.
//!
//! sled 0.34.7 panics on some damage, hence the guard around every contact; it keeps no value over 64 KiB here, and no I/O happens
//! inside a transaction. Each group of journal records is one transaction over all trees. It also keeps the newest records as they
//! are, so that a journal whose end was cut off can be made whole again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use sled::Transactional;
use sled::transaction::{ConflictableTransactionError, TransactionError, TransactionalTree};

use super::frame::{chain, encode};
use super::journal::Position;
use super::{Fact, MetricSeries, Projection, Record, RunRow, StateError};

const TREES: [&str; 8] = ["meta", "runs", "steps", "attempts", "artifacts", "notes", "records", "curves"];
const META: usize = 0;
const RUNS: usize = 1;
const STEPS: usize = 2;
const ATTEMPTS: usize = 3;
const ARTIFACTS: usize = 4;
const NOTES: usize = 5;
const RECORDS: usize = 6;
const CURVES: usize = 7;
const HEAD: &[u8] = b"head";
const MAX_VALUE: usize = 64 << 10;
/// How long an opening waits for the database's file to be free. The state's lock says that nobody works with it, but a thread of sled that
/// ends, or a child between its fork and its exec, may have the file a moment longer.
const MOST_WAIT: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(5);
/// How sled 0.34.7 says that the file is not free: the error has no kind of its own.
const NOT_FREE: &str = "could not acquire lock";
/// How many of the newest records it keeps.
const KEPT_RECORDS: u64 = 4096;

/// The open database.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    db: sled::Db,
    trees: [sled::Tree; TREES.len()],
}

/// A row to write: the tree's index, the key, and the value or none to delete it.
pub(super) type Row = (usize, Vec<u8>, Option<Vec<u8>>);

impl Database {
    /// Opens or makes the database at `path`. Who calls has the state's lock.
    pub(super) fn open(path: &Path) -> Result<Self, StateError> {
        let since = Instant::now();
        loop {
            match Self::try_open(path) {
                Err(StateError::Io { source, .. })
                    if source.to_string().contains(NOT_FREE) && since.elapsed() < MOST_WAIT =>
                {
                    std::thread::sleep(RETRY);
                }
                opened => return opened,
            }
        }
    }

    fn try_open(path: &Path) -> Result<Self, StateError> {
        guarded(path, || {
            let db = sled::Config::new().path(path).cache_capacity(16 << 20).flush_every_ms(None).open()?;
            let mut trees = Vec::with_capacity(TREES.len());
            for name in TREES {
                trees.push(db.open_tree(name)?);
            }
            let trees = trees.try_into().map_err(|_| sled::Error::Unsupported("tree count".to_owned()))?;
            Ok(Self { path: path.to_path_buf(), db, trees })
        })
    }

    /// Sequence number and chain of the newest record that it holds.
    pub(super) fn head(&self) -> Result<Option<(u64, [u8; 32])>, StateError> {
        let value = guarded(&self.path, || self.trees[META].get(HEAD))?;
        Ok(value.and_then(|bytes| {
            let seq = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
            Some((seq, bytes.get(8..40)?.try_into().ok()?))
        }))
    }

    /// Writes rows in one flushed transaction; of equal keys the last counts.
    pub(super) fn write(&self, rows: &[Row]) -> Result<(), StateError> {
        let body = |trees: &Vec<TransactionalTree>| -> Result<(), ConflictableTransactionError<()>> {
            for (tree, key, value) in rows {
                match value {
                    Some(value) => trees[*tree].insert(key.as_slice(), value.as_slice())?,
                    None => trees[*tree].remove(key.as_slice())?,
                };
            }
            Ok(())
        };
        guarded(&self.path, || {
            let trees: &[sled::Tree] = &self.trees;
            trees.transaction(body).map_err(|error| match error {
                TransactionError::Abort(()) => {
                    sled::Error::Unsupported("a transaction was aborted".to_owned())
                }
                TransactionError::Storage(error) => error,
            })?;
            self.db.flush().map(|_| ())
        })
    }

    /// The payloads of the records after `position`, where they are all here and end in the chain that the database names.
    pub(super) fn records_after(&self, position: &Position) -> Result<Option<Vec<Vec<u8>>>, StateError> {
        let Some((seq, head)) = self.head()? else { return Ok(None) };
        let mut payloads = Vec::new();
        let mut reached = position.head;
        for number in position.seq + 1..=seq {
            let Some(payload) = guarded(&self.path, || self.trees[RECORDS].get(number.to_be_bytes()))? else {
                return Ok(None);
            };
            reached = chain(&reached, &payload);
            payloads.push(payload.to_vec());
        }
        Ok((reached == head && seq > position.seq).then_some(payloads))
    }

    /// Rows in each tree, for `doctor`.
    pub(super) fn counts(&self) -> Result<Vec<(&'static str, usize)>, StateError> {
        guarded(&self.path, || {
            Ok(TREES.iter().copied().zip(self.trees.iter().map(sled::Tree::len)).collect())
        })
    }

    /// Whether each row that the projection gives is here with the same value.
    pub(super) fn agrees_with(
        &self,
        records: &[Record],
        projection: &Projection,
    ) -> Result<bool, StateError> {
        for record in records {
            for (tree, key, value) in rows_of(&record.fact, projection)? {
                let stored = guarded(&self.path, || self.trees[tree].get(&key))?;
                if stored.as_deref() != value.as_deref() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Every row as text: tree, key, value. For people and for other programs.
    pub(super) fn export(&self, each: &mut dyn FnMut(&str, &str, &str)) -> Result<(), StateError> {
        for (name, tree) in TREES.iter().zip(&self.trees) {
            if matches!(*name, "records" | "meta") {
                continue;
            }
            for row in tree {
                let (key, value) = row.map_err(|error| failed(&self.path, &error.to_string()))?;
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                each(name, &text(&key).replace('\0', "/"), &text(&value));
            }
        }
        Ok(())
    }
}

/// The rows of records that `projection` has folded in, and the head that they lead to.
pub(super) fn rows_of_records(
    records: &[Record],
    projection: &Projection,
    head: [u8; 32],
) -> Result<Vec<Row>, StateError> {
    let mut rows: Vec<Row> = Vec::new();
    for record in records {
        rows.extend(rows_of(&record.fact, projection)?);
        let payload = encode(record)?;
        rows.push((
            RECORDS,
            record.seq.to_be_bytes().to_vec(),
            (payload.len() <= MAX_VALUE).then_some(payload),
        ));
        if let Some(old) = record.seq.checked_sub(KEPT_RECORDS) {
            rows.push((RECORDS, old.to_be_bytes().to_vec(), None));
        }
    }
    let mut value = projection.seq().to_be_bytes().to_vec();
    value.extend_from_slice(&head);
    rows.push((META, HEAD.to_vec(), Some(value)));
    Ok(rows)
}

/// The rows of an attempt's curves and of how far its events are read.
pub(super) fn rows_of_events(
    attempt: &str,
    offset: u64,
    curves: &[(String, MetricSeries)],
) -> Result<Vec<Row>, StateError> {
    let mut rows = vec![(CURVES, key(&[attempt, "offset"]), Some(serde_json::to_vec(&offset)?))];
    for (name, series) in curves {
        rows.push((CURVES, key(&[attempt, "metric", name]), row(series)?));
    }
    Ok(rows)
}

/// The rows that a fact changes, with the values that the projection has now.
fn rows_of(fact: &Fact, projection: &Projection) -> Result<Vec<Row>, StateError> {
    let mut rows = Vec::new();
    let (run, step) = touched(fact);
    if let Some(view) = run.and_then(|run| projection.run(run)) {
        if let Some(step) = step.and_then(|step| view.step(step)) {
            rows.push((STEPS, key(&[&view.id, &step.name]), row(step)?));
            for attempt in projection.attempts(&step.fingerprint) {
                rows.push((ATTEMPTS, key(&[&step.fingerprint, &attempt.token]), row(attempt)?));
            }
        } else {
            rows.push((RUNS, key(&[&view.id]), row(&bare_run(view))?));
        }
    }
    match fact {
        Fact::StepsPlanned { run, steps } => {
            let view = projection.run(run);
            for step in steps.iter().filter_map(|step| view?.step(&step.name)) {
                rows.push((STEPS, key(&[run, &step.name]), row(step)?));
            }
        }
        Fact::ArtifactCommitted(artifact) => {
            rows.push((
                ARTIFACTS,
                key(&[&artifact.fingerprint]),
                artifact_row(projection, &artifact.fingerprint)?,
            ));
            rows.push(checkpoint_row(projection, &artifact.fingerprint)?);
        }
        Fact::ArtifactDeleted { fingerprint } => {
            rows.push((ARTIFACTS, key(&[fingerprint]), artifact_row(projection, fingerprint)?));
        }
        Fact::CheckpointSaved { fingerprint, .. } => {
            rows.push(checkpoint_row(projection, fingerprint)?);
        }
        Fact::Noted { topic, key: name, .. } => {
            rows.push((
                NOTES,
                key(&[topic, name]),
                projection.note(topic, name).map(row).transpose()?.flatten(),
            ));
        }
        _ => {}
    }
    Ok(rows)
}

fn checkpoint_row(projection: &Projection, fingerprint: &str) -> Result<Row, StateError> {
    let value = projection.checkpoint(fingerprint).map(row).transpose()?.flatten();
    Ok((META, key(&["checkpoint", fingerprint]), value))
}

fn artifact_row(projection: &Projection, fingerprint: &str) -> Result<Option<Vec<u8>>, StateError> {
    Ok(projection.artifacts().get(fingerprint).map(row).transpose()?.flatten())
}

fn touched(fact: &Fact) -> (Option<&str>, Option<&str>) {
    match fact {
        Fact::RunCreated { run, .. } | Fact::RunMoved { run, .. } => (Some(run), None),
        Fact::ArtifactCommitted(artifact) => (Some(&artifact.run), Some(&artifact.step)),
        Fact::AttemptIntended { run, step, .. }
        | Fact::AttemptStarted { run, step, .. }
        | Fact::AttemptAdopted { run, step, .. }
        | Fact::AttemptUnknown { run, step, .. }
        | Fact::AttemptEnded { run, step, .. }
        | Fact::CommitIntended { run, step, .. }
        | Fact::StepMoved { run, step, .. } => (Some(run), Some(step)),
        Fact::Opened { .. }
        | Fact::StepsPlanned { .. }
        | Fact::CheckpointSaved { .. }
        | Fact::ArtifactDeleted { .. }
        | Fact::Acted(_)
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

/// A run without its steps, which are rows of their own.
fn bare_run(run: &RunRow) -> serde_json::Value {
    serde_json::json!({
        "id": run.id, "spec_name": run.spec_name, "spec_path": run.spec_path, "plan_hash": run.plan_hash,
        "state": run.state, "created_millis": run.created_millis, "ended_millis": run.ended_millis,
    })
}

/// Calls sled and turns a panic of it into an error.
fn guarded<T>(path: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StateError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(source))) => Err(StateError::Io { path: path.to_path_buf(), source }),
        Ok(Err(error)) => Err(failed(path, &error.to_string())),
        Err(_) => Err(failed(path, "it panicked")),
    }
}

fn failed(path: &Path, problem: &str) -> StateError {
    StateError::Database { path: path.to_path_buf(), problem: problem.to_owned() }
}
