//! `cupola get`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola get`.
#[derive(Debug, Args)]
pub struct GetArgs {}

/// Lists runs, steps, artifacts, schedules, models or metrics.
pub(super) fn run(_args: &GetArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("get"))
}
