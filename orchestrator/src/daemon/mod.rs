//! The daemon: fires schedules and answers the control API.
//!
//! It holds the state folder's lock only for the moment of a record, so that `cupola apply` works beside it; what it fires is an
//! `apply --only JOBS` of the current spec in a process of its own, one at a time, when nobody else holds the folder. Every slot is in the
//! journal before its process starts. A firing that a daemon left behind when it died is started again by the next one: `apply` goes
//! on where it was, or finds everything cached.

mod engine;
mod error;
mod files;
mod launcher;
mod serve;
mod specs;

pub use engine::Engine;
pub(crate) use engine::{firing, pause_record};
pub use error::DaemonError;
pub use files::{DaemonFile, read_daemon_file, token_file};
pub use launcher::{Launcher, ProcessLauncher, Ticket};
pub use serve::{DaemonOptions, run_daemon};
pub use specs::{WatchedSchedule, WatchedSpecs, find_schedule};
