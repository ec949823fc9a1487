//! `cupola gc`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola gc`.
#[derive(Debug, Args)]
pub struct GcArgs {}

/// Deletes artifacts that nothing needs; only lists them without --yes.
pub(super) fn run(_args: &GcArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("gc"))
}
