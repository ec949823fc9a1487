//! `cupola validate`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {}

/// Checks a spec and prints every error in it.
pub(super) fn run(_args: &ValidateArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("validate"))
}
