//! The state as the daemon sees it: read again only where the journal grew, recorded in only while nobody else holds the folder.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::state::{
    Fact, Holder, Position, Projection, State, StateDir, StateError, holder, read_journal,
    read_journal_after, read_state,
};

/// What the engine reads and records.
pub trait Ledger: Send {
    /// What is true now.
    fn projection(&mut self) -> Result<Arc<Projection>, StateError>;
    /// Records facts; false where another process holds the folder.
    fn record(&mut self, facts: Vec<Fact>) -> Result<bool, StateError>;
    /// Who holds the folder now.
    fn holder(&self) -> Option<Holder>;
}

/// Follows a journal: its new records are folded in, and nothing is read while it stays as it is.
#[derive(Debug)]
pub struct Follower {
    dir: StateDir,
    seen: Option<Seen>,
}

/// How far a journal was read.
#[derive(Debug)]
struct Seen {
    file: FileState,
    position: Position,
    projection: Arc<Projection>,
}

/// What tells that a file is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileState {
    inode: u64,
    length: u64,
    modified_nanos: i128,
}

impl FileState {
    fn of(path: &Path) -> Option<Self> {
        let data = std::fs::metadata(path).ok()?;
        let modified_nanos = i128::from(data.mtime()) * 1_000_000_000 + i128::from(data.mtime_nsec());
        Some(Self { inode: data.ino(), length: data.len(), modified_nanos })
    }
}

impl Follower {
    /// A follower that has read nothing yet.
    pub fn new(dir: &StateDir) -> Self {
        Self { dir: dir.clone(), seen: None }
    }

    /// What is true now.
    pub fn read(&mut self) -> Result<Arc<Projection>, StateError> {
        // Looked at before reading: what is appended meanwhile is read the next time.
        let file = FileState::of(&self.dir.journal());
        let Some(file) = file else {
            self.seen = None;
            return Ok(Arc::new(read_state(&self.dir)?));
        };
        match self.seen.take() {
            Some(seen) if seen.file == file => Ok(self.keep(seen)),
            Some(seen) if seen.file.inode == file.inode && seen.file.length <= file.length => {
                match read_journal_after(&self.dir.journal(), &seen.position) {
                    Ok(contents) => {
                        let mut projection = seen.projection;
                        let folded = Arc::make_mut(&mut projection);
                        contents.records.iter().for_each(|record| folded.apply(record));
                        Ok(self.keep(Seen { file, position: contents.position, projection }))
                    }
                    // Another history: what was cut off came back, or somebody put another journal there.
                    Err(_) => self.read_whole(file),
                }
            }
            _ => self.read_whole(file),
        }
    }

    fn read_whole(&mut self, file: FileState) -> Result<Arc<Projection>, StateError> {
        let contents = match read_journal(&self.dir.journal()) {
            // Reading state is what brings an older journal up.
            Err(StateError::Schema { .. }) => {
                read_state(&self.dir)?;
                read_journal(&self.dir.journal())?
            }
            other => other?,
        };
        let mut projection = Projection::new(&self.dir);
        contents.records.iter().for_each(|record| projection.apply(record));
        Ok(self.keep(Seen { file, position: contents.position, projection: Arc::new(projection) }))
    }

    fn keep(&mut self, seen: Seen) -> Arc<Projection> {
        let projection = Arc::clone(&seen.projection);
        self.seen = Some(seen);
        projection
    }
}

/// The ledger of a state folder.
#[derive(Debug)]
pub struct FolderLedger {
    dir: StateDir,
    follower: Follower,
}

impl FolderLedger {
    /// The ledger of this folder.
    pub fn new(dir: &StateDir) -> Self {
        Self { dir: dir.clone(), follower: Follower::new(dir) }
    }
}

impl Ledger for FolderLedger {
    fn projection(&mut self) -> Result<Arc<Projection>, StateError> {
        self.follower.read()
    }

    fn record(&mut self, facts: Vec<Fact>) -> Result<bool, StateError> {
        match State::open(&self.dir, "daemon") {
            Ok(mut state) => state.record(facts).map(|()| true),
            Err(StateError::Locked { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn holder(&self) -> Option<Holder> {
        holder(&self.dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(value: u64) -> Fact {
        Fact::Noted { topic: "t".into(), key: format!("k{value}"), value: value.into() }
    }

    #[test]
    fn a_follower_sees_what_a_reader_sees_and_reads_nothing_while_nothing_changes() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let mut follower = Follower::new(&dir);
        assert_eq!(follower.read().unwrap().seq(), 0);
        for value in 0..3 {
            State::open(&dir, "test").unwrap().record(vec![note(value)]).unwrap();
            assert_eq!(*follower.read().unwrap(), read_state(&dir).unwrap());
        }
        let (first, second) = (follower.read().unwrap(), follower.read().unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        let held = follower.read().unwrap();
        State::open(&dir, "test").unwrap().record(vec![note(9)]).unwrap();
        assert_eq!(follower.read().unwrap().note("t", "k9"), Some(&9.into()));
        assert_eq!(held.note("t", "k9"), None, "what a reader holds does not change");
    }

    #[test]
    fn another_journal_in_its_place_is_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(&folder.path().join("a"));
        let other = StateDir::new(&folder.path().join("b"));
        State::open(&dir, "test").unwrap().record(vec![note(1)]).unwrap();
        let mut follower = Follower::new(&dir);
        follower.read().unwrap();
        State::open(&other, "test").unwrap().record(vec![note(2), note(3)]).unwrap();
        std::fs::copy(other.journal(), dir.journal()).unwrap();
        let seen = follower.read().unwrap();
        assert_eq!((seen.note("t", "k1"), seen.note("t", "k3")), (None, Some(&3.into())));
    }
}
