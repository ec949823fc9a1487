//! Opening state for writing: lock, journal, projection, database, in this order.

use std::path::Path;

use super::ballast::{drop_ballast, fill_ballast, is_disk_full};
use super::database::{rows_of_events, rows_of_records};
use super::filesystem::{folder_id, refuse_network};
use super::journal::parse_memory;
use super::mend::open_journal;
use super::migrate::migrate;
use super::projector::Projector;
use super::recover::open_database;
use super::snapshot::{read_outline, read_snapshot, write_snapshot};
use super::{
    AttemptOutcome, Fact, Journal, MemoryFile, MetricSeries, Position, Projection, Record, StateDir,
    StateError, StateLock, host_name, read_journal, read_journal_after,
};
use crate::promote::sync_served;
use crate::telemetry::FactSpans;

/// A journal that is longer than this behind its snapshot gets a new one on closing.
const SNAPSHOT_TAIL: u64 = 2 << 20;
/// While it is open it gets one after four times that, or after this part of the last one's length where that is longer.
const SNAPSHOT_SHARE: u64 = 8;
/// Why the attempts of a copied folder end.
const COPIED: &str = "the state folder is a copy: the attempt belongs to the folder that it was copied from";

/// A state folder open for writing. One process at a time has it.
#[derive(Debug)]
pub struct State {
    dir: StateDir,
    journal: Journal,
    projection: Projection,
    projector: Option<Projector>,
    snapshot_end: u64,
    snapshot_bytes: u64,
    lock: Option<StateLock>,
    spans: FactSpans,
}

impl State {
    /// Takes the lock, replays the journal, brings the database up to it and opens a new epoch. `command` is what a refused second
    /// process is told.
    pub fn open(dir: &StateDir, command: &str) -> Result<Self, StateError> {
        std::fs::create_dir_all(dir.root()).map_err(StateError::io(dir.root()))?;
        refuse_network(dir.root())?;
        let lock = StateLock::take(dir, command, now_millis())?;
        make_folders(dir)?;
        let has_room = fill_ballast(&dir.ballast());
        migrate(dir)?;
        let (mut projection, from) = start_of(dir);
        let (mut journal, mut contents) = open_journal(dir, &from)?;
        replay(&mut projection, &contents.records);
        // A database that can't be written now stays behind, and is brought up another time: the journal is what counts.
        let mut database = || open_database(dir, (&mut journal, &mut contents), &mut projection);
        let projector = match has_room.then(&mut database) {
            None => None,
            Some(Ok(database)) => Projector::start(database).ok(),
            Some(Err(error)) => {
                tracing::warn!("{error}; going on with the journal alone");
                None
            }
        };
        let mut state = Self {
            dir: dir.clone(),
            journal,
            projection,
            projector,
            snapshot_end: from.end,
            snapshot_bytes: 0,
            lock: Some(lock),
            spans: FactSpans::default(),
        };
        state.begin_epoch()?;
        // Another projection of the journal: whoever died before it was written left it behind.
        if let Err(error) = sync_served(&state.projection) {
            tracing::warn!("{}: {error}; it stays behind the journal", dir.served().display());
        }
        Ok(state)
    }

    /// State whose journal lies in memory, without a lock and a database: what the simulation runs on. `dir` only gives names.
    pub fn open_memory(dir: &StateDir, file: MemoryFile) -> Result<Self, StateError> {
        let (journal, contents) = Journal::open_memory(file, &dir.journal())?;
        let mut projection = Projection::new(dir);
        replay(&mut projection, &contents.records);
        let snapshot_end = u64::MAX;
        let mut state = Self {
            dir: dir.clone(),
            journal,
            projection,
            projector: None,
            snapshot_end,
            snapshot_bytes: 0,
            lock: None,
            spans: FactSpans::default(),
        };
        state.begin_epoch()?;
        Ok(state)
    }

    fn begin_epoch(&mut self) -> Result<(), StateError> {
        let locked = self.lock.as_ref().map_or(0, StateLock::last_epoch);
        let epoch = self.projection.epoch().max(locked) + 1;
        let folder = folder_id(self.dir.root());
        let is_copy = self.projection.folder().is_copied_to(&folder);
        let opened = Fact::Opened {
            epoch,
            pid: std::process::id(),
            host: host_name(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            folder,
        };
        if let Some(lock) = &mut self.lock {
            lock.note_epoch(epoch)?;
        }
        let mut facts = vec![opened];
        if is_copy {
            facts.extend(self.foreign_attempts());
        }
        self.record(facts)
    }

    /// In a copy of a folder: attempts that go on belong to the folder that it was copied from, and end here.
    fn foreign_attempts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        for run in self.projection.runs() {
            for step in &run.steps {
                let open = self.projection.attempts(&step.fingerprint).iter();
                facts.extend(
                    open.filter(|attempt| attempt.ended_millis.is_none() && step.state.is_live()).map(
                        |attempt| Fact::AttemptEnded {
                            run: run.id.clone(),
                            step: step.name.clone(),
                            token: attempt.token.clone(),
                            outcome: AttemptOutcome::Lost { reason: COPIED.to_owned() },
                            peak_rss_bytes: 0,
                            cpu_millis: 0,
                        },
                    ),
                );
            }
        }
        facts
    }

    /// Records facts as one group: durable in the journal, visible in the projection, on their way to the database. On a full disk the
    /// ballast makes room for them.
    pub fn record(&mut self, facts: Vec<Fact>) -> Result<(), StateError> {
        if facts.is_empty() {
            return Ok(());
        }
        let (records, payloads) = self.journal.encode(facts, now_millis())?;
        match self.journal.append(&payloads) {
            Err(StateError::Io { source, .. })
                if is_disk_full(&source) && drop_ballast(&self.dir.ballast()) =>
            {
                // The room that this makes is the journal's.
                self.projector = None;
                self.journal.append(&payloads)?;
            }
            other => other?,
        }
        replay(&mut self.projection, &records);
        for record in &records {
            self.spans.take(record);
        }
        if let Some(projector) = &self.projector {
            projector.write(rows_of_records(&records, &self.projection, self.journal.position().head)?);
        }
        let tail = self.journal.position().end.saturating_sub(self.snapshot_end);
        if tail > (4 * SNAPSHOT_TAIL).max(self.snapshot_bytes / SNAPSHOT_SHARE) {
            self.snapshot();
        }
        Ok(())
    }

    /// What is true now.
    pub fn projection(&self) -> &Projection {
        &self.projection
    }

    /// The folder's layout.
    pub fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// The epoch of this opening: the first half of every attempt token.
    pub fn epoch(&self) -> u64 {
        self.projection.epoch()
    }

    /// The trace context of an attempt that goes on, for its worker; none where nobody collects spans.
    pub fn traceparent(&self, run: &str, step: &str, token: &str) -> Option<String> {
        self.spans.traceparent(run, step, token)
    }

    /// Saves how far the events of an attempt are read, and its curves. Its folder names it: tokens are of one step.
    pub fn save_events(
        &self,
        attempt: &Path,
        offset: u64,
        curves: &[(String, MetricSeries)],
    ) -> Result<(), StateError> {
        if let Some(projector) = &self.projector {
            let name = self.dir.below(attempt);
            projector.write(rows_of_events(&name.to_string_lossy(), offset, curves)?);
        }
        Ok(())
    }

    /// Writes a snapshot; failing costs the next reader time and nothing else.
    fn snapshot(&mut self) {
        let position = self.journal.position();
        if let Ok(bytes) = write_snapshot(&self.projection, position) {
            self.snapshot_bytes = bytes;
        }
        self.snapshot_end = position.end;
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if self.journal.position().end.saturating_sub(self.snapshot_end) > SNAPSHOT_TAIL {
            self.snapshot();
        }
        // The database first: who waits for the lock finds it whole.
        self.projector = None;
    }
}

/// What is true now, without a lock: what commands that only read see, also while an orchestrator runs.
pub fn read_state(dir: &StateDir) -> Result<Projection, StateError> {
    replay_from(dir, start_of(dir))
}

/// Runs and the attempts of their open steps as they are now. Of what is settled, artifacts and notes the projection may hold only the
/// newest: it is for those who look how a long run stands.
pub fn read_runs(dir: &StateDir) -> Result<Projection, StateError> {
    replay_from(dir, read_outline(dir).unwrap_or_else(|| start_of(dir)))
}

fn replay_from(
    dir: &StateDir,
    (mut projection, from): (Projection, Position),
) -> Result<Projection, StateError> {
    let contents = match read_journal_after(&dir.journal(), &from) {
        Err(StateError::Schema { .. }) => {
            // An older journal is rewritten by whoever may; one that an older orchestrator holds is told as locked.
            drop(State::open(dir, "migrate")?);
            read_journal(&dir.journal())?
        }
        other => other?,
    };
    replay(&mut projection, &contents.records);
    Ok(projection)
}

/// What was true right after the record of this number.
pub fn read_state_at(dir: &StateDir, seq: u64) -> Result<Projection, StateError> {
    let contents = read_journal(&dir.journal())?;
    let mut projection = Projection::new(dir);
    let until = contents.records.partition_point(|record| record.seq <= seq);
    replay(&mut projection, &contents.records[..until]);
    Ok(projection)
}

/// The same of a journal in memory, whatever was torn at its end left out.
pub fn read_memory_at(dir: &StateDir, file: &MemoryFile, seq: u64) -> Result<Projection, StateError> {
    let contents = parse_memory(file, &dir.journal())?;
    let mut projection = Projection::new(dir);
    let until = contents.records.partition_point(|record| record.seq <= seq);
    replay(&mut projection, &contents.records[..until]);
    Ok(projection)
}

/// Milliseconds since the Unix epoch.
pub fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Where replaying begins: the newest snapshot, or nothing.
fn start_of(dir: &StateDir) -> (Projection, Position) {
    read_snapshot(dir).unwrap_or_else(|| (Projection::new(dir), Position::FIRST))
}

pub(super) fn replay(projection: &mut Projection, records: &[Record]) {
    for record in records {
        projection.apply(record);
    }
}

fn make_folders(dir: &StateDir) -> Result<(), StateError> {
    for folder in [dir.store(), dir.staging(), dir.control()] {
        std::fs::create_dir_all(&folder).map_err(StateError::io(&folder))?;
    }
    let ignore = dir.root().join(".gitignore");
    if !ignore.exists() {
        std::fs::write(&ignore, "*\n").map_err(StateError::io(&ignore))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::check_state;

    fn note(value: u64) -> Fact {
        Fact::Noted { topic: "t".into(), key: format!("k{value}"), value: value.into() }
    }

    #[test]
    fn what_was_recorded_is_there_after_opening_again_and_the_projections_agree() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let mut state = State::open(&dir, "test").unwrap();
        state.record(vec![note(1), note(2)]).unwrap();
        let before = state.projection().clone();
        assert_eq!(read_state(&dir).unwrap(), before);
        assert_eq!(read_state_at(&dir, 2).unwrap().note("t", "k2"), None);
        drop(state);
        let state = State::open(&dir, "test").unwrap();
        assert_eq!(state.epoch(), before.epoch() + 1);
        assert_eq!(state.projection().note("t", "k2"), Some(&2.into()));
    }

    #[test]
    fn a_lost_or_damaged_database_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let mut state = State::open(&dir, "test").unwrap();
        state.record(vec![note(1)]).unwrap();
        drop(state);
        for file in ["db/conf", "db/db"] {
            std::fs::write(dir.root().join(file), b"rubbish").unwrap();
        }
        let state = State::open(&dir, "test").unwrap();
        assert_eq!(state.projection().note("t", "k1"), Some(&1.into()));
        drop(state);
        std::fs::remove_dir_all(dir.database()).unwrap();
        drop(State::open(&dir, "test").unwrap());
        let lines = check_state(&dir, false).unwrap();
        assert!(lines.iter().any(|line| line.text.contains("agrees")), "{lines:?}");
    }

    #[test]
    fn records_cut_off_the_journal_come_back_from_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let mut state = State::open(&dir, "test").unwrap();
        for value in 0..40 {
            state.record(vec![note(value)]).unwrap();
        }
        let before = state.projection().clone();
        drop(state);
        let bytes = std::fs::read(dir.journal()).unwrap();
        for cut in [1, 100, 4_000, bytes.len() - 8] {
            std::fs::write(dir.journal(), &bytes[..bytes.len() - cut]).unwrap();
            let state = State::open(&dir, "test").unwrap();
            for value in 0..40 {
                assert_eq!(
                    state.projection().note("t", &format!("k{value}")),
                    Some(&value.into()),
                    "cut {cut}"
                );
            }
            assert!(state.epoch() > before.epoch());
        }
    }

    #[test]
    fn an_epoch_is_never_given_twice_even_where_journal_and_database_lost_it() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        for _ in 0..3 {
            drop(State::open(&dir, "test").unwrap());
        }
        std::fs::remove_file(dir.journal()).unwrap();
        std::fs::remove_dir_all(dir.database()).unwrap();
        assert_eq!(State::open(&dir, "test").unwrap().epoch(), 4);
    }

    #[test]
    fn a_long_journal_gets_a_snapshot_that_gives_the_same_projection() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let mut state = State::open(&dir, "test").unwrap();
        for value in 0..3_000u64 {
            let blake = blake3::hash(&value.to_le_bytes()).to_hex().repeat(14);
            let fact =
                Fact::Noted { topic: "t".into(), key: format!("k{}", value % 100), value: blake.into() };
            state.record(vec![fact]).unwrap();
        }
        let before = state.projection().clone();
        drop(state);
        assert!(dir.snapshot().exists());
        assert_eq!(read_state(&dir).unwrap(), before);
        std::fs::remove_file(dir.snapshot()).unwrap();
        assert_eq!(read_state(&dir).unwrap(), before);
    }

    #[test]
    fn the_open_attempts_of_a_copied_folder_end_in_the_copy_and_go_on_in_the_original() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(&folder.path().join("a"));
        let mut state = State::open(&dir, "test").unwrap();
        let (run, step) = ("t-1".to_owned(), "s".to_owned());
        let planned = crate::state::PlannedStep {
            name: step.clone(),
            job: step.clone(),
            kind: cupola_specs::job::StepKind::Fit,
            fingerprint: "f".repeat(64),
            code_version: 1,
            params: serde_json::Value::Null,
            inputs: std::collections::BTreeMap::new(),
            needs: Vec::new(),
            sources: std::collections::BTreeMap::new(),
            seed: 1,
            cores: 1,
            cached: false,
            reason: "never ran".into(),
            training_flops: 0.0,
            trainings: serde_json::Value::Null,
            expected: crate::state::Expected::default(),
        };
        let created = Fact::RunCreated {
            run: run.clone(),
            spec_name: "t".into(),
            spec_path: "t.yaml".into(),
            plan_hash: "p".into(),
        };
        let dir_of_attempt = std::path::PathBuf::from("runs/t-1/s/attempt-1");
        let intended = Fact::AttemptIntended {
            run: run.clone(),
            step,
            number: 1,
            token: "1.1".into(),
            dir: dir_of_attempt,
        };
        state.record(vec![created, Fact::StepsPlanned { run, steps: vec![planned] }, intended]).unwrap();
        drop(state);
        let copy = StateDir::new(&folder.path().join("b"));
        std::process::Command::new("cp").arg("-a").arg(dir.root()).arg(copy.root()).status().unwrap();
        let outcome = |dir: &StateDir| {
            let state = State::open(dir, "test").unwrap();
            state.projection().attempts(&"f".repeat(64))[0].outcome.clone()
        };
        assert_eq!(outcome(&copy), "lost");
        assert_eq!(outcome(&dir), "");
        let moved = StateDir::new(&folder.path().join("c"));
        std::fs::rename(dir.root(), moved.root()).unwrap();
        assert_eq!(outcome(&moved), "", "a moved folder keeps its attempts");
        std::process::Command::new("cp").arg("-a").arg(moved.root()).arg(dir.root()).status().unwrap();
        std::fs::remove_dir_all(moved.root()).unwrap();
        std::fs::rename(dir.root(), moved.root()).unwrap();
        assert_eq!(outcome(&moved), "", "one that was put back at its path keeps them");
    }
}
