//! `cupola cancel`.

use clap::Args;

use super::control::{ControlArgs, ask};
use super::{CliError, Global, Outcome};
use crate::run::ControlVerb;

/// Arguments of `cupola cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// What it is about.
    #[command(flatten)]
    pub target: ControlArgs,
}

/// Stops a run, or one of its steps, after a checkpoint.
pub(super) fn run(args: &CancelArgs, global: &Global) -> Result<Outcome, CliError> {
    ask(ControlVerb::Cancel, &args.target, global)
}
