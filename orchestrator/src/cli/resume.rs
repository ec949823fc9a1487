//! `cupola resume`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {}

/// Goes on with a paused run.
pub(super) fn run(_args: &ResumeArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("resume"))
}
