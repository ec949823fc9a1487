//! `cupola pause`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola pause`.
#[derive(Debug, Args)]
pub struct PauseArgs {}

/// Stops starting new steps and checkpoints the running ones.
pub(super) fn run(_args: &PauseArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("pause"))
}
