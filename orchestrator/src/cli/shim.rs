//! `cupola shim`, hidden: the process that every local attempt runs under.

use std::path::PathBuf;

use clap::Args;

use super::{CliError, Global, Outcome};
use crate::executor::run_shim;

/// Arguments of `cupola shim`.
#[derive(Debug, Args)]
pub struct ShimArgs {
    /// The attempt's folder, which holds `job.json`.
    pub attempt: PathBuf,
    /// The worker binary.
    #[arg(long)]
    pub worker: PathBuf,
}

/// Starts the worker, beats while it lives and writes down how it ended.
pub(super) fn run(args: &ShimArgs, _global: &Global) -> Result<Outcome, CliError> {
    run_shim(&args.attempt, &args.worker)?;
    Ok(Outcome::Done)
}
