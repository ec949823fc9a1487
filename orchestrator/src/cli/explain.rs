//! `cupola explain`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {}

/// Explains a field of the spec language.
pub(super) fn run(_args: &ExplainArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("explain"))
}
