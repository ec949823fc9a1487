//! `cupola why`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola why`.
#[derive(Debug, Args)]
pub struct WhyArgs {}

/// Says why a job runs, is cached or failed.
pub(super) fn run(_args: &WhyArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("why"))
}
