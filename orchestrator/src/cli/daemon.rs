//! `cupola daemon`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola daemon`.
#[derive(Debug, Args)]
pub struct DaemonArgs {}

/// Fires schedules and answers the control API.
pub(super) fn run(_args: &DaemonArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("daemon"))
}
