//! `cupola cancel`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {}

/// Stops a run, or one of its steps, after a checkpoint.
pub(super) fn run(_args: &CancelArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("cancel"))
}
