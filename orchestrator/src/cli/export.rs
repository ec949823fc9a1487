//! `cupola export`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola export`.
#[derive(Debug, Args)]
pub struct ExportArgs {}

/// Writes a model in another format.
pub(super) fn run(_args: &ExportArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("export"))
}
