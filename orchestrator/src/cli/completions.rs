//! `cupola completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, CliError, Global, Outcome};

/// Arguments of `cupola completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: Shell,
}

/// Prints a shell's completions.
#[allow(clippy::unnecessary_wraps, reason = "every subcommand has this signature")]
pub(super) fn run(args: &CompletionsArgs, _global: &Global) -> Result<Outcome, CliError> {
    clap_complete::generate(args.shell, &mut Cli::command(), "cupola", &mut std::io::stdout());
    Ok(Outcome::Done)
}
