//! `cupola apply`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {}

/// Runs what a spec asks for and is not there yet.
pub(super) fn run(_args: &ApplyArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("apply"))
}
