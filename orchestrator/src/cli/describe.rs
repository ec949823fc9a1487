//! `cupola describe`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {}

/// Shows everything about a run, step, artifact or attempt.
pub(super) fn run(_args: &DescribeArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("describe"))
}
