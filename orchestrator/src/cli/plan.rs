//! `cupola plan`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {}

/// Shows what `apply` would run, what is cached, and why.
pub(super) fn run(_args: &PlanArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("plan"))
}
