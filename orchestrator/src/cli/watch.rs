//! `cupola watch`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {}

/// Follows a run live.
pub(super) fn run(_args: &WatchArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("watch"))
}
