//! An operation between ranks that is under way.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::KernelError;
use crate::shim::GradMode;

/// What a backend has under way.
pub(super) trait Pending: Send {
    /// Whether it ended, well or not.
    fn is_done(&self) -> bool;
    /// Waits for its end, at most for `rest`; an error says what happened.
    fn wait(&mut self, rest: Duration) -> Result<(), String>;
}

/// Who talks, and whether the group still works.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) rank: usize,
    pub(super) timeout: Duration,
    /// The first failure of the group, after which each call fails.
    pub(super) broken: Arc<OnceLock<String>>,
}

impl Facts {
    /// The error of an operation; the group is broken from here.
    pub(super) fn fail(&self, operation: &'static str, started: Instant, message: String) -> KernelError {
        let _first = self.broken.set(format!("{operation}: {message}"));
        let waited = started.elapsed().as_secs_f64();
        KernelError::Collective {
            rank: self.rank,
            operation,
            seconds: self.timeout.as_secs_f64(),
            waited,
            message,
        }
    }

    /// Refuses what a broken group is asked.
    pub(super) fn check(&self, operation: &'static str) -> Result<(), KernelError> {
        match self.broken.get() {
            None => Ok(()),
            Some(first) => {
                let message = format!("the group broke before ({first})");
                Err(self.fail(operation, Instant::now(), message))
            }
        }
    }
}

type Finish = Box<dyn FnOnce() -> Result<(), KernelError> + Send>;

/// An operation between ranks that is under way. Its result is there after [`Work::wait`]; dropped without, it is waited for and its result
/// stays incomplete.
#[must_use = "the result is there only after `wait`"]
pub struct Work {
    operation: &'static str,
    started: Instant,
    facts: Option<Facts>,
    pending: Option<Box<dyn Pending>>,
    finish: Option<Finish>,
}

impl Work {
    pub(super) fn begun(
        operation: &'static str,
        facts: Facts,
        pending: Box<dyn Pending>,
        finish: Option<Finish>,
    ) -> Self {
        Self { operation, started: Instant::now(), facts: Some(facts), pending: Some(pending), finish }
    }

    /// An operation that needs no other rank.
    pub(super) fn done(operation: &'static str) -> Self {
        Self { operation, started: Instant::now(), facts: None, pending: None, finish: None }
    }

    /// Whether [`Work::wait`] would return at once.
    pub fn is_done(&self) -> bool {
        self.pending.as_ref().is_none_or(|pending| pending.is_done())
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// Another rank's failure or silence, at the latest when the group's time-out has passed since the operation began.
    pub fn wait(mut self) -> Result<(), KernelError> {
        self.complete()?;
        let Some(finish) = self.finish.take() else { return Ok(()) };
        let _unrecorded = GradMode::set(false);
        finish()
    }

    fn complete(&mut self) -> Result<(), KernelError> {
        let (Some(mut pending), Some(facts)) = (self.pending.take(), &self.facts) else { return Ok(()) };
        if let Some(first) = facts.broken.get()
            && !pending.is_done()
        {
            let message = format!("the group broke before ({first})");
            return Err(facts.fail(self.operation, self.started, message));
        }
        let rest = facts.timeout.saturating_sub(self.started.elapsed()).max(Duration::from_millis(1));
        pending.wait(rest).map_err(|message| facts.fail(self.operation, self.started, message))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Its error stays in the group, whose next call tells it.
        let _outcome = self.complete();
    }
}

impl std::fmt::Debug for Work {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Work")
            .field("operation", &self.operation)
            .field("is_done", &self.is_done())
            .finish_non_exhaustive()
    }
}
