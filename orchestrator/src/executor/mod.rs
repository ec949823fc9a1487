//! Executors: where attempts run, behind one small trait.
//!
//! An attempt is known by its token and its folder. Everything that an executor says comes from files in that folder and from the
//! process table, so that an orchestrator which was restarted sees what its predecessor saw.

mod error;
mod types;
mod waker;

mod process;
mod shim;

mod folder;
mod forkserver;
mod local;

pub use error::ExecutorError;
pub use forkserver::serve_forks;
pub use local::LocalExecutor;
pub use process::{ProcessId, find_below, find_by_argument, is_alive};
pub use types::{AttemptRef, Executor, Observation, WorkOrder};
pub use waker::Waker;
