//! Orders: what clients ask the daemon to apply, one file each in the state folder.
//!
//! A daemon may die at any time: an order that is on the disk is taken up by the next one. Its process takes the order away when its run is
//! in the journal, and leaves beside it which run that is, what it said, and its exit code: a client reads these whether or not the daemon
//! still lives.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::state::{StateDir, StateError};

/// How long what nobody fetched is kept.
const KEPT_MILLIS: i64 = 24 * 3_600_000;
const RESULTS: [&str; 4] = ["run", "code", "out", "err"];

/// What a client asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyOrder {
    /// Its id: the moment in which it was placed, so that ids stand in order.
    pub id: String,
    /// When it was placed, milliseconds since the Unix epoch.
    pub placed_millis: i64,
    /// What `cupola` is started with.
    pub arguments: Vec<String>,
    /// The client's working folder.
    pub folder: Option<PathBuf>,
    /// The client's values of the variables that the spec names; none of one that is not set.
    pub environment: BTreeMap<String, Option<String>>,
    /// Who asked, for the audit log: `api`, `api retry`.
    pub via: String,
}

/// The run of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRun {
    /// Its id.
    pub run: String,
    /// The process that drives it.
    pub pid: u32,
}

/// The orders of a state folder and what became of them.
#[derive(Debug, Clone)]
pub struct OrderFiles {
    folder: PathBuf,
}

impl OrderFiles {
    /// The orders of this folder.
    pub fn new(dir: &StateDir) -> Self {
        Self { folder: dir.orders() }
    }

    /// Whether a text has the form of an id: it names files.
    pub fn is_id(text: &str) -> bool {
        text.len() == 13 && text.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// Places an order behind all others; gives its id. When this returns, the order is on the disk.
    pub fn place(&self, order: ApplyOrder, now_millis: i64) -> Result<String, StateError> {
        std::fs::create_dir_all(&self.folder).map_err(StateError::io(&self.folder))?;
        let last = self.waiting().last().map_or(0, |order| order.placed_millis);
        let mut at = now_millis.max(last + 1);
        while self.is_used(&id_of(at)) {
            at += 1;
        }
        let order = ApplyOrder { id: id_of(at), placed_millis: at, ..order };
        self.write(&self.order(&order.id), &order)?;
        Ok(order.id)
    }

    /// The orders that wait, the oldest first.
    pub fn waiting(&self) -> Vec<ApplyOrder> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        let read = |path: PathBuf| {
            // One that its process takes away just now is none.
            let bytes = std::fs::read(&path).ok()?;
            let order = serde_json::from_slice(&bytes);
            order.inspect_err(|error| tracing::warn!("{}: {error}", path.display())).ok()
        };
        paths.into_iter().filter_map(read).collect()
    }

    /// Whether an order waits: its run is not recorded yet.
    pub fn is_waiting(&self, id: &str) -> bool {
        self.order(id).exists()
    }

    /// Takes an order away; false where it was gone.
    pub fn withdraw(&self, id: &str) -> bool {
        std::fs::remove_file(self.order(id)).is_ok()
    }

    /// Says which run an order became, and takes it away.
    pub fn note_run(&self, id: &str, run: &str) -> Result<(), StateError> {
        let run = OrderRun { run: run.to_owned(), pid: std::process::id() };
        self.write(&self.result(id, "run"), &run)?;
        self.withdraw(id);
        Ok(())
    }

    /// Says how the process of an order ended, and takes the order away.
    pub fn note_end(&self, id: &str, code: i32) -> Result<(), StateError> {
        self.write(&self.result(id, "code"), &code)?;
        self.withdraw(id);
        Ok(())
    }

    /// The run of an order; none where it has none yet.
    pub fn run(&self, id: &str) -> Option<OrderRun> {
        serde_json::from_slice(&std::fs::read(self.result(id, "run")).ok()?).ok()
    }

    /// The exit code of an order's process; none where it has not ended.
    pub fn code(&self, id: &str) -> Option<i32> {
        serde_json::from_slice(&std::fs::read(self.result(id, "code")).ok()?).ok()
    }

    /// Where the output of an order's process goes.
    pub fn output(&self, id: &str) -> PathBuf {
        self.result(id, "out")
    }

    /// Where the errors of an order's process go.
    pub fn errors(&self, id: &str) -> PathBuf {
        self.result(id, "err")
    }

    /// Deletes what became of an order.
    pub fn forget(&self, id: &str) {
        for kind in RESULTS {
            // What is left is deleted with the outdated.
            let _ = std::fs::remove_file(self.result(id, kind));
        }
    }

    /// Deletes what became of orders that ended long ago and that nobody fetched.
    pub fn forget_outdated(&self, now_millis: i64) {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| {
            let path = entry.path();
            let is_end = path.extension().is_some_and(|extension| extension == "code");
            let written = entry.metadata().ok()?.modified().ok()?;
            let written = written.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis() as i64;
            let is_outdated = is_end && now_millis - written > KEPT_MILLIS;
            is_outdated.then(|| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))?
        });
        for id in ids.collect::<Vec<String>>() {
            self.forget(&id);
        }
    }

    fn order(&self, id: &str) -> PathBuf {
        self.result(id, "json")
    }

    fn result(&self, id: &str, kind: &str) -> PathBuf {
        self.folder.join(format!("{id}.{kind}"))
    }

    fn is_used(&self, id: &str) -> bool {
        self.is_waiting(id) || RESULTS.iter().any(|kind| self.result(id, kind).exists())
    }

    /// Writes a file that is whole and on the disk when this returns, and that only its owner can read.
    fn write(&self, path: &Path, value: &impl Serialize) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(value)?;
        let write = || {
            let mut draft = tempfile::NamedTempFile::new_in(&self.folder)?;
            draft.write_all(&bytes)?;
            draft.as_file().sync_all()?;
            draft.persist(path).map_err(|error| error.error)?;
            std::fs::File::open(&self.folder)?.sync_all()
        };
        write().map_err(StateError::io(path))
    }
}

fn id_of(at_millis: i64) -> String {
    format!("{at_millis:013}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn files() -> (tempfile::TempDir, OrderFiles) {
        let folder = tempfile::tempdir().unwrap();
        let files = OrderFiles::new(&StateDir::new(folder.path()));
        (folder, files)
    }

    #[test]
    fn orders_stand_in_the_order_in_which_they_were_placed_whatever_the_clock_does() {
        let (_folder, files) = files();
        let place = |now| files.place(ApplyOrder::default(), now).unwrap();
        let placed = [place(1_000), place(1_000), place(400)];
        let waiting: Vec<String> = files.waiting().into_iter().map(|order| order.id).collect();
        assert_eq!(waiting, placed);
        assert!(placed.iter().all(|id| OrderFiles::is_id(id)) && !OrderFiles::is_id("../../journal"));
        let mode = std::fs::metadata(files.order(&placed[0])).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it holds values of somebody's environment");
    }

    #[test]
    fn an_order_is_gone_with_its_run_and_its_end_stays_for_a_day() {
        let (_folder, files) = files();
        let id = files.place(ApplyOrder::default(), 5).unwrap();
        assert!(files.is_waiting(&id) && files.run(&id).is_none());
        files.note_run(&id, "t-1").unwrap();
        assert!(!files.is_waiting(&id) && !files.withdraw(&id));
        assert_eq!(files.run(&id).unwrap().run, "t-1");
        files.note_end(&id, 3).unwrap();
        let now = crate::state::now_millis();
        files.forget_outdated(now);
        assert_eq!(files.code(&id), Some(3));
        files.forget_outdated(now + KEPT_MILLIS + 60_000);
        assert_eq!((files.code(&id), files.run(&id)), (None, None));
    }
}
