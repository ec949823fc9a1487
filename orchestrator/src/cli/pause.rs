//! `cupola pause`.

use clap::Args;

use super::control::{ControlArgs, ask};
use super::{CliError, Global, Outcome};
use crate::run::ControlVerb;

/// Arguments of `cupola pause`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// What it is about.
    #[command(flatten)]
    pub target: ControlArgs,
}

/// Stops starting new steps and checkpoints the running ones.
pub(super) fn run(args: &PauseArgs, global: &Global) -> Result<Outcome, CliError> {
    ask(ControlVerb::Pause, &args.target, global)
}
