//! `cupola run`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola run`.
#[derive(Debug, Args)]
pub struct RunArgs {}

/// Runs one job without a spec file.
pub(super) fn run(_args: &RunArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("run"))
}
