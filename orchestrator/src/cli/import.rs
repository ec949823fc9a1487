//! `cupola import`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola import`.
#[derive(Debug, Args)]
pub struct ImportArgs {}

/// Brings an exported artifact into the store.
pub(super) fn run(_args: &ImportArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("import"))
}
