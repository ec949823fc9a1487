//! The command line: one file for each subcommand.
//!
//! Exit codes: 0 done, 1 a step failed, 2 the user's input is wrong, 3 interrupted.

mod alerts;
mod apply;
mod approve;
mod audit;
mod bundle;
mod cancel;
mod chaos;
mod chat;
mod completions;
mod control;
mod corpus;
mod daemon;
mod describe;
mod detach;
mod diff;
mod doctor;
mod environment;
mod error;
mod explain;
mod export;
mod gc;
mod get;
mod handover;
mod import;
mod init;
mod invocation;
mod load;
mod logs;
mod model;
mod order;
mod pause;
mod plan;
mod promote;
mod promotions;
mod quality;
mod rates;
mod reject;
mod report;
mod resume;
mod retry;
mod rollback;
mod run_job;
mod schedule;
mod schema;
mod select;
mod serve;
mod status;
mod tables;
mod validate;
mod watch;
mod why;

mod command;

pub use command::{Cli, Global, Outcome, main};
pub use error::CliError;
