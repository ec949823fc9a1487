//! Runs: the scheduler decides, the driver acts, the journal remembers.
//!
//! The [`Scheduler`] is a pure state machine; the [`Driver`] stands between it and the world, over the traits [`Clock`] and
//! [`crate::executor::Executor`]. Promises: an acknowledged transition is never lost; a step's result is committed at most once; a step
//! is started again only after its attempt ended or is proven dead. Exactly-once execution is not promised: an attempt whose machine
//! died runs again from its newest checkpoint.

mod backoff;
mod clock;
mod error;
mod signals;

mod board;
mod control;
mod failure;
mod message;
mod scheduler;

mod attempt;
mod nodes;

mod commit;
mod driver;
mod follow;
mod room;

mod apply;

mod simulation;

pub use apply::{Applied, apply, cancel_idle, done_run, save_spec};
pub use attempt::job_outside_a_run;
pub use clock::{Clock, SystemClock};
pub use control::{ControlRequest, ControlVerb, leave_request, take_requests};
pub use driver::{Console, DriveEnd, Driver, World};
pub use error::RunError;
pub use message::{Command, End, Happening, Node, Request, Slots};
pub use nodes::is_users_fault;
pub use scheduler::Scheduler;
pub use signals::Signals;
pub use simulation::{Histories, History, simulate, simulate_all};
