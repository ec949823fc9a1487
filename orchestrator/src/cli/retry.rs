//! `cupola retry`.

use clap::Args;

use super::control::{ControlArgs, ask};
use super::{CliError, Global, Outcome};
use crate::run::ControlVerb;

/// Arguments of `cupola retry`.
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// What it is about.
    #[command(flatten)]
    pub target: ControlArgs,
}

/// Runs failed steps again.
pub(super) fn run(args: &RetryArgs, global: &Global) -> Result<Outcome, CliError> {
    ask(ControlVerb::Retry, &args.target, global)
}
