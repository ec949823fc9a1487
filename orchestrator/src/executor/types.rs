//! The executor trait and what it speaks of.

use std::path::PathBuf;

use cupola_specs::contract::{ShimResult, Started};

use super::ExecutorError;

/// Names an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRef {
    /// `epoch.attempt`.
    pub token: String,
    /// The attempt's folder, which holds `job.json`.
    pub dir: PathBuf,
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
    },
}

/// Runs attempts.
pub trait Executor {
    /// Starts the attempt whose folder is prepared. Starting the same token twice starts one worker.
    fn submit(&mut self, attempt: &AttemptRef) -> Result<(), ExecutorError>;

    /// Looks at an attempt.
    fn observe(&mut self, attempt: &AttemptRef) -> Result<Observation, ExecutorError>;

    /// Asks the worker to write a checkpoint and stop; with `force` ends it at once.
    fn cancel(&mut self, attempt: &AttemptRef, force: bool) -> Result<(), ExecutorError>;

    /// Those of the given attempts (all of one key) that may have a live worker.
    fn list_by_key(&mut self, attempts: &[AttemptRef]) -> Result<Vec<AttemptRef>, ExecutorError> {
        let mut live = Vec::new();
        for attempt in attempts {
            match self.observe(attempt)? {
                Observation::Starting | Observation::Running(_) | Observation::Unknown { .. } => {
                    live.push(attempt.clone());
                }
                Observation::Exited(_) | Observation::Dead { .. } => {}
            }
        }
        Ok(live)
    }
}
