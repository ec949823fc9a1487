//! `cupola schedule`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola schedule`.
#[derive(Debug, Args)]
pub struct ScheduleArgs {}

/// Lists, pauses, resumes and fires schedules.
pub(super) fn run(_args: &ScheduleArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("schedule"))
}
