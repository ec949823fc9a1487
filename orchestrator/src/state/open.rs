//! Opening state for writing: lock, journal, projection, database, in this order.

use std::path::PathBuf;

use super::{
    Database, Fact, Journal, JournalContents, MetricSeries, Projection, Record, StateDir, StateError,
    StateLock, host_name, read_journal,
};

/// A state folder open for writing. One process at a time has it.
#[derive(Debug)]
pub struct State {
    dir: StateDir,
    journal: Journal,
    database: Database,
    projection: Projection,
    _lock: StateLock,
}

impl State {
    /// Takes the lock, replays the journal, brings the database up to it and opens a new epoch. `command` is what a refused second
    /// process is told.
    pub fn open(dir: &StateDir, command: &str) -> Result<Self, StateError> {
        make_folders(dir)?;
        let lock = StateLock::take(dir, command, now_millis())?;
        let (journal, contents) = Journal::open(&dir.journal())?;
        let projection = replay(dir, &contents.records);
        let database = open_database(dir, &contents, &projection, journal.head())?;
        let mut state = Self { dir: dir.clone(), journal, database, projection, _lock: lock };
        let opened = Fact::Opened {
            epoch: state.projection.epoch() + 1,
            pid: std::process::id(),
            host: host_name(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        state.record(vec![opened])?;
        Ok(state)
    }

    /// Records facts: durable in the journal, then in the database, then visible in the projection.
    pub fn record(&mut self, facts: Vec<Fact>) -> Result<(), StateError> {
        let records = self.journal.append(facts, now_millis())?;
        for record in &records {
            self.projection.apply(record);
        }
        self.database.project(&records, &self.projection, self.journal.head())
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

    /// How far the events of an attempt are read.
    pub fn event_offset(&self, token: &str) -> Result<u64, StateError> {
        self.database.event_offset(token)
    }

    /// Saves how far the events of an attempt are read, and its curves.
    pub fn save_events(
        &self,
        token: &str,
        offset: u64,
        curves: &[(String, MetricSeries)],
    ) -> Result<(), StateError> {
        self.database.save_events(token, offset, curves)
    }

    /// A saved curve of an attempt.
    pub fn curve(&self, token: &str, name: &str) -> Result<Option<MetricSeries>, StateError> {
        self.database.curve(token, name)
    }
}

/// Replays the journal without a lock: what commands that only read see, also while an orchestrator runs.
pub fn read_state(dir: &StateDir) -> Result<Projection, StateError> {
    Ok(replay(dir, &read_journal(&dir.journal())?.records))
}

/// Checks the database against the journal; makes it again where that is asked for or needed. Gives the findings as lines.
pub fn check_database(dir: &StateDir, rebuild: bool) -> Result<Vec<String>, StateError> {
    let _lock = StateLock::take(dir, "doctor", now_millis())?;
    let (journal, contents) = Journal::open(&dir.journal())?;
    let projection = replay(dir, &contents.records);
    let mut lines = vec![format!("journal: {} records, chain whole", contents.records.len())];
    if contents.torn_bytes > 0 {
        lines.push(format!(
            "journal: dropped a torn tail of {} bytes that was never acknowledged",
            contents.torn_bytes
        ));
    }
    if rebuild {
        set_aside(dir)?;
    }
    let database = open_database(dir, &contents, &projection, journal.head())?;
    let agrees = database.agrees_with(&contents.records, &projection)?;
    if agrees {
        let counts: Vec<String> =
            database.counts().iter().map(|(name, rows)| format!("{name} {rows}")).collect();
        lines.push(format!("database: agrees with the journal ({})", counts.join(", ")));
    } else {
        drop(database);
        set_aside(dir)?;
        open_database(dir, &contents, &projection, journal.head())?;
        lines.push("database: differed from the journal; made again".to_owned());
    }
    Ok(lines)
}

/// Milliseconds since the Unix epoch.
pub fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn replay(dir: &StateDir, records: &[Record]) -> Projection {
    let mut projection = Projection::new(dir);
    for record in records {
        projection.apply(record);
    }
    projection
}

fn make_folders(dir: &StateDir) -> Result<(), StateError> {
    for folder in [dir.root().to_path_buf(), dir.store(), dir.staging(), dir.control()] {
        std::fs::create_dir_all(&folder).map_err(StateError::io(&folder))?;
    }
    let ignore = dir.root().join(".gitignore");
    if !ignore.exists() {
        std::fs::write(&ignore, "*\n").map_err(StateError::io(&ignore))?;
    }
    Ok(())
}

/// Opens the database and brings it up to the journal; one that is broken or of another history is set aside and made again.
fn open_database(
    dir: &StateDir,
    contents: &JournalContents,
    projection: &Projection,
    chain: [u8; 32],
) -> Result<Database, StateError> {
    let head = projection.seq();
    if let Ok(database) = Database::open(&dir.database()) {
        match database.head() {
            Ok(Some((seq, stored))) if seq == head && stored == chain => return Ok(database),
            Ok(known) => {
                // Behind by what a crash left between journal and database: the newest values of the missing rows bring it up.
                let seq = known.map_or(0, |(seq, _)| seq);
                if seq < head || (seq == 0 && head == 0) {
                    database.project(&contents.records[seq as usize..], projection, chain)?;
                    return Ok(database);
                }
            }
            Err(_) => {}
        }
    }
    set_aside(dir)?;
    let database = Database::open(&dir.database())?;
    database.project(&contents.records, projection, chain)?;
    Ok(database)
}

fn set_aside(dir: &StateDir) -> Result<(), StateError> {
    let from = dir.database();
    if !from.exists() {
        return Ok(());
    }
    let to: PathBuf = dir.root().join(format!("db.set-aside-{}", now_millis()));
    std::fs::rename(&from, &to).map_err(StateError::io(&from))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let lines = check_database(&dir, false).unwrap();
        assert!(lines.iter().any(|line| line.contains("agrees")), "{lines:?}");
    }
}
