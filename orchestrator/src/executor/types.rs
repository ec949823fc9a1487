//! The executor trait and what it speaks of.

use std::path::PathBuf;

use cupola_specs::contract::{Event, JobFile, ShimResult, SourceFile, Started};

use super::ExecutorError;

/// Names an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRef {
    /// `epoch.attempt`: one of its step's identity, not of the run.
    pub token: String,
    /// The attempt's folder, which holds `job.json` and is no other attempt's.
    pub dir: PathBuf,
}

/// What an attempt is to do.
#[derive(Debug, Clone)]
pub struct WorkOrder<'a> {
    /// All that the worker needs.
    pub job: JobFile,
    /// The local files that it reads.
    pub sources: &'a [SourceFile],
    /// The devices that it may use, by number.
    pub devices: Vec<u32>,
    /// Bytes of memory that the worker may take; 0 is no limit.
    pub memory_limit_bytes: u64,
    /// The trace that the worker joins (W3C `traceparent`); none where nobody collects spans.
    pub traceparent: Option<String>,
}

/// What an executor sees of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// It is on its way: no worker yet, and none that died.
    Starting,
    /// Its worker lives and is heard of.
    Running(Started),
    /// Whether it lives can't be said now. It has not failed.
    Unknown {
        /// Why.
        reason: String,
    },
    /// Its shim wrote down how it ended.
    Exited(ShimResult),
    /// It is proven dead and nobody wrote down how it ended.
    Dead {
        /// The proof.
        reason: String,
        /// Whether a worker ran: one that never did has not failed.
        ran: bool,
    },
}

/// Runs attempts.
pub trait Executor {
    /// Writes the attempt's folder and starts it. Starting the same token twice starts one worker.
    fn submit(&mut self, attempt: &AttemptRef, order: &WorkOrder<'_>) -> Result<(), ExecutorError>;

    /// Looks at an attempt.
    fn observe(&mut self, attempt: &AttemptRef) -> Result<Observation, ExecutorError>;

    /// The whole events of an attempt from byte `offset` on, and where the next one starts.
    fn events(&mut self, attempt: &AttemptRef, offset: u64) -> Result<(Vec<Event>, u64), ExecutorError>;

    /// The devices that an attempt was given.
    fn devices(&mut self, attempt: &AttemptRef) -> Vec<u32>;

    /// Asks the worker to write a checkpoint and stop; with `force` ends it at once.
    fn cancel(&mut self, attempt: &AttemptRef, force: bool) -> Result<(), ExecutorError>;

    /// Lets time go by until an attempt ended, somebody [wakes](super::Waker::wake) this executor, or `millis` are over. Gives the
    /// folders of attempts that are worth a look now.
    fn wait(&mut self, millis: u64) -> Vec<PathBuf>;
}
