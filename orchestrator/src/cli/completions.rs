//! `cupola completions`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {}

/// Prints a shell's completions.
pub(super) fn run(_args: &CompletionsArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("completions"))
}
