//! The writer task: one thread that brings what the journal has acknowledged into the database, in groups.
//!
//! The journal is durable before anything is handed over, so the task may lag: whoever dies with it leaves a database that is behind, and
//! the next opening brings it up. A database that fails is left alone until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::database::{Database, Row};

/// Groups that may wait before the one who hands them over does.
const WAITING: usize = 256;
/// How long rows are gathered for one transaction: nobody waits for them, and each one costs a flush.
const GATHER: Duration = Duration::from_millis(50);
/// Most rows of one transaction.
const MOST_ROWS: usize = 2048;

/// The hand-over to the writer task; dropping it waits until everything is written.
#[derive(Debug)]
pub(super) struct Projector {
    sender: Option<SyncSender<Vec<Row>>>,
    thread: Option<JoinHandle<()>>,
    broken: Arc<AtomicBool>,
}

impl Projector {
    /// Starts the task over an open database.
    pub(super) fn start(database: Database) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let broken = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("projector".to_owned()).spawn({
            let broken = Arc::clone(&broken);
            move || write_all(&database, &receiver, &broken)
        })?;
        Ok(Self { sender: Some(sender), thread: Some(thread), broken })
    }

    /// Hands rows over.
    pub(super) fn write(&self, rows: Vec<Row>) {
        if let Some(sender) = self.sender.as_ref().filter(|_| !self.broken.load(Ordering::Relaxed)) {
            // A task that ended has left its mark; the next opening makes up for it.
            let _ = sender.send(rows);
        }
    }
}

impl Drop for Projector {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_all(database: &Database, receiver: &Receiver<Vec<Row>>, broken: &AtomicBool) {
    while let Ok(mut rows) = receiver.recv() {
        let since = Instant::now();
        while rows.len() < MOST_ROWS
            && let Ok(more) = receiver.recv_timeout(GATHER.saturating_sub(since.elapsed()))
        {
            rows.extend(more);
        }
        if let Err(error) = database.write(&rows) {
            tracing::warn!("{error}; it is left alone until it is opened again");
            broken.store(true, Ordering::Relaxed);
            return;
        }
    }
}
