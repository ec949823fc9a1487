//! `cupola serve`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {}

/// Serves a model over HTTP.
pub(super) fn run(_args: &ServeArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("serve"))
}
