//! The thread that writes states, so that training goes on meanwhile.
//!
//! The training thread copies the tensors into memory and goes on; this one hashes, writes and syncs. One state is under way at a time: the
//! next one waits for it. So a run holds one state more than it trains with, from its first save on (the memory is used again), and what was
//! acknowledged by an event is on the disk. An error of writing comes out at the next step or save, with the class that it has.
//!
//! The thread is a scoped one: the loop does not end before it, however it ends.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::Scope;
use std::time::Instant;

use tch::Tensor;

use super::TrainError;
use super::checkpoint::{Checkpoints, Pending, Progress};

/// From this many seconds on, waiting for a write is told.
const NOTICED_SECS: f64 = 1.0;

/// A write that ended: the memory it used, and how long it took.
type Written = Result<(Vec<u8>, f64), TrainError>;

/// Hands states to the thread that writes them.
#[derive(Debug)]
pub(super) struct Saver<'scope> {
    checkpoints: &'scope Checkpoints<'scope>,
    states: Sender<Pending>,
    written: Receiver<Written>,
    is_writing: bool,
    room: Vec<u8>,
    /// Seconds that the last write took.
    write_secs: f64,
    has_warned: bool,
}

impl<'scope> Saver<'scope> {
    /// Starts the thread; it ends when the saver is dropped.
    pub(super) fn start(scope: &'scope Scope<'scope, '_>, checkpoints: &'scope Checkpoints<'scope>) -> Self {
        let (states, to_write) = channel::<Pending>();
        let (done, written) = channel();
        scope.spawn(move || {
            for pending in to_write {
                let begin = Instant::now();
                let result = checkpoints.write(&pending);
                let result = result.map(|_| (pending.into_room(), begin.elapsed().as_secs_f64()));
                if done.send(result).is_err() {
                    break;
                }
            }
        });
        Self {
            checkpoints,
            states,
            written,
            is_writing: false,
            room: Vec::new(),
            write_secs: 0.0,
            has_warned: false,
        }
    }

    /// Copies a state and has it written; waits for the one before it.
    pub(super) fn save(
        &mut self,
        progress: &Progress,
        state: Vec<(String, Tensor)>,
    ) -> Result<(), TrainError> {
        let begin = Instant::now();
        self.settle()?;
        let waited = begin.elapsed().as_secs_f64();
        let pending = self.checkpoints.take(progress, state, std::mem::take(&mut self.room))?;
        self.states.send(pending).map_err(|_| TrainError::WriterLost)?;
        self.is_writing = true;
        let events = self.checkpoints.ctx().events();
        events.metric("checkpoint_stall_secs", progress.steps, begin.elapsed().as_secs_f64());
        if waited > NOTICED_SECS {
            let took = self.write_secs;
            self.tell_slow(&format!("training waited {waited:.1} s for it, and it took {took:.1} s"));
        }
        Ok(())
    }

    /// Says, once, that a state is due while the one before it is still being written.
    pub(super) fn tell_late(&mut self) {
        self.tell_slow("the next one is due already, and is saved once it is done");
    }

    fn tell_slow(&mut self, what: &str) {
        if !self.has_warned {
            self.has_warned = true;
            let message = format!("writing a state is slow: {what}; raise `checkpoint.every`");
            self.checkpoints.ctx().events().warning("checkpoint_slow", message);
        }
    }

    /// Whether no write is under way; the error of one that failed.
    pub(super) fn is_idle(&mut self) -> Result<bool, TrainError> {
        if self.is_writing {
            match self.written.try_recv() {
                Ok(written) => self.take_back(written)?,
                Err(TryRecvError::Empty) => return Ok(false),
                Err(TryRecvError::Disconnected) => return Err(TrainError::WriterLost),
            }
        }
        Ok(true)
    }

    /// Waits for the write that is under way.
    pub(super) fn settle(&mut self) -> Result<(), TrainError> {
        if self.is_writing {
            let written = self.written.recv().map_err(|_| TrainError::WriterLost)?;
            self.take_back(written)?;
        }
        Ok(())
    }

    fn take_back(&mut self, written: Written) -> Result<(), TrainError> {
        self.is_writing = false;
        (self.room, self.write_secs) = written?;
        Ok(())
    }
}
