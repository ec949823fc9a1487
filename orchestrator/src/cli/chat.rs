//! `cupola chat`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola chat`.
#[derive(Debug, Args)]
pub struct ChatArgs {}

/// Chats with a model in the terminal.
pub(super) fn run(_args: &ChatArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("chat"))
}
