//! `cupola status`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola status`.
#[derive(Debug, Args)]
pub struct StatusArgs {}

/// Shows how a run stands.
pub(super) fn run(_args: &StatusArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("status"))
}
