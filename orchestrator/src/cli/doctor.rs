//! `cupola doctor`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {}

/// Checks journal, database, store and binaries.
pub(super) fn run(_args: &DoctorArgs, _global: &Global) -> Result<Outcome, CliError> {
    Err(CliError::NotYet("doctor"))
}
