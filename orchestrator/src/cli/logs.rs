//! `cupola logs`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {}

/// Prints what a step's worker says.
pub(super) fn run(_args: &LogsArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("logs"))
}
