//! `cupola report`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola report`.
#[derive(Debug, Args)]
pub struct ReportArgs {}

/// Writes and prints the report card of a run.
pub(super) fn run(_args: &ReportArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("report"))
}
