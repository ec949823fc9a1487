//! The store as the driver of a run sees it: commits go on beside it, on threads of their own, since most of their time is the disk's.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use cupola_specs::artifact::Manifest;

use super::{Store, StoreError, StoredArtifact};
use crate::executor::Waker;

/// Commits that go on at a time.
const THREADS: usize = 4;

/// Where artifacts lie, as the driver of a run sees it.
pub trait ArtifactStore {
    /// Whether the artifact of this kind and fingerprint is there, whole.
    fn contains(&self, kind: &str, fingerprint: &str) -> bool;

    /// The artifact of this kind and fingerprint.
    fn get(&self, kind: &str, fingerprint: &str) -> Result<Option<StoredArtifact>, StoreError>;

    /// Whether a staging folder is there.
    fn is_staged(&self, staging: &Path) -> bool;

    /// Begins to move a filled staging folder into the store; `ticket` names it when it is done. One that is awaited wakes the executor
    /// then, another one is found by the next look.
    fn begin_commit(
        &mut self,
        ticket: usize,
        staging: PathBuf,
        manifest: Manifest,
        awaited: bool,
    ) -> Result<(), StoreError>;

    /// What came of commits that ended since the last call.
    fn take_commits(&mut self) -> Vec<(usize, Result<StoredArtifact, StoreError>)>;

    /// Deletes a folder that nobody needs; `cupola gc` finds what is left where that fails.
    fn discard(&mut self, folder: PathBuf);

    /// Bytes of the files below a folder; 0 where there is none.
    fn bytes_below(&self, folder: &Path) -> u64;

    /// Free bytes of the disk that artifacts lie on; none where nobody says.
    fn free_bytes(&self) -> Option<u64>;
}

/// What a thread is given.
enum Errand {
    Commit { ticket: usize, staging: PathBuf, manifest: Box<Manifest>, awaited: bool },
    Discard(PathBuf),
}

/// A store whose commits run on threads. Dropping it waits for those that go on.
#[derive(Debug)]
pub struct Committer {
    store: Store,
    errands: Option<Sender<Errand>>,
    done: Receiver<(usize, Result<StoredArtifact, StoreError>)>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Committer {
    /// A committer over this store, which wakes the executor when a commit ended.
    pub fn new(store: Store, waker: &Waker) -> Result<Self, StoreError> {
        let (errands, queue) = channel::<Errand>();
        let (sender, done) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::with_capacity(THREADS);
        for _ in 0..THREADS {
            let (queue, sender, waker, store) =
                (Arc::clone(&queue), sender.clone(), waker.clone(), store.clone());
            let work = move || {
                while let Some(errand) = next(&queue) {
                    match errand {
                        Errand::Commit { ticket, staging, manifest, awaited } => {
                            // Nobody listens any more where the run was given up.
                            let _ = sender.send((ticket, store.commit(&staging, *manifest)));
                            if awaited {
                                waker.wake();
                            }
                        }
                        Errand::Discard(folder) => {
                            let _ = std::fs::remove_dir_all(folder);
                        }
                    }
                }
            };
            let thread = std::thread::Builder::new().name("committer".to_owned()).spawn(work);
            threads.push(thread.map_err(StoreError::io(Path::new("committer")))?);
        }
        Ok(Self { store, errands: Some(errands), done, threads })
    }

    fn send(&self, errand: Errand) -> Result<(), StoreError> {
        let sent = self.errands.as_ref().map(|errands| errands.send(errand));
        if matches!(sent, Some(Ok(()))) { Ok(()) } else { Err(StoreError::Stopped) }
    }
}

fn next(queue: &Mutex<Receiver<Errand>>) -> Option<Errand> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.errands = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl ArtifactStore for Committer {
    fn contains(&self, kind: &str, fingerprint: &str) -> bool {
        self.store.contains(kind, fingerprint)
    }

    fn get(&self, kind: &str, fingerprint: &str) -> Result<Option<StoredArtifact>, StoreError> {
        self.store.get(kind, fingerprint)
    }

    fn is_staged(&self, staging: &Path) -> bool {
        staging.exists()
    }

    fn begin_commit(
        &mut self,
        ticket: usize,
        staging: PathBuf,
        manifest: Manifest,
        awaited: bool,
    ) -> Result<(), StoreError> {
        self.send(Errand::Commit { ticket, staging, manifest: Box::new(manifest), awaited })
    }

    fn take_commits(&mut self) -> Vec<(usize, Result<StoredArtifact, StoreError>)> {
        self.done.try_iter().collect()
    }

    fn discard(&mut self, folder: PathBuf) {
        // Most steps leave none.
        if folder.exists() {
            // Only housekeeping: what is left is found by `cupola gc`.
            let _ = self.send(Errand::Discard(folder));
        }
    }

    fn bytes_below(&self, folder: &Path) -> u64 {
        let files = walkdir::WalkDir::new(folder).into_iter().flatten();
        files
            .filter_map(|entry| entry.metadata().ok())
            .filter(std::fs::Metadata::is_file)
            .map(|file| file.len())
            .sum()
    }

    fn free_bytes(&self) -> Option<u64> {
        crate::state::free_bytes(self.store.root())
    }
}
