//! `cupola retry`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola retry`.
#[derive(Debug, Args)]
pub struct RetryArgs {}

/// Runs failed steps again.
pub(super) fn run(_args: &RetryArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("retry"))
}
