//! The orchestrator: from a spec to a plan, from a plan to committed artifacts.
//!
//! It never links the tensor library, so that every command starts in milliseconds.

pub mod plan;
pub mod state;
pub mod store;

pub mod executor;
pub mod run;
pub mod schedule;

pub mod alert;
pub mod api;
pub mod audit;
pub mod bundle;
pub mod daemon;
pub mod promote;
pub mod report;
pub mod watch;

pub mod chaos;
pub mod telemetry;

pub mod cli;
