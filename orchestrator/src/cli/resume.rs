//! `cupola resume`.

use clap::Args;

use super::control::{ControlArgs, ask};
use super::{CliError, Global, Outcome};
use crate::run::ControlVerb;

/// Arguments of `cupola resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// What it is about.
    #[command(flatten)]
    pub target: ControlArgs,
}

/// Goes on with a paused run.
pub(super) fn run(args: &ResumeArgs, global: &Global) -> Result<Outcome, CliError> {
    ask(ControlVerb::Resume, &args.target, global)
}
