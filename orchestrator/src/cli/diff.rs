//! `cupola diff`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {}

/// Compares parameters and metrics of two runs or artifacts.
pub(super) fn run(_args: &DiffArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("diff"))
}
