//! The daemon: fires schedules and answers the control API.
//!
//! It holds the state folder's lock only for the moment of a record, so that `cupola apply` works beside it; what it fires is an
//! `apply --only JOBS` of the current spec in a process of its own, one at a time, when nobody else holds the folder. Every slot is in the
//! journal before its process starts. A firing that a daemon left behind when it died is followed up by the next one once nobody holds the
//! folder: it ends as its run did, or is started again where that was interrupted or never begun. What is told of a firing's end is recorded
//! with it, and sent by a thread of its own.

mod alerts;
mod engine;
mod error;
mod files;
mod firings;
mod launcher;
mod ledger;
mod orders;
mod serve;
mod specs;

pub use engine::Engine;
pub use error::DaemonError;
pub use files::{DaemonFile, read_daemon_file, token_file};
pub(crate) use firings::{firing, pause_record};
pub use launcher::{Launcher, ProcessLauncher, Surroundings, Ticket};
pub use ledger::{FolderLedger, Follower, Ledger};
pub use orders::{ApplyOrder, OrderFiles, OrderRun};
pub use serve::{DaemonOptions, run_daemon};
pub use specs::{WatchedSchedule, WatchedSpecs, find_schedule};
