//! `cupola schema`.

use clap::Args;

use super::{CliError, Global, Outcome};

/// Arguments of `cupola schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {}

/// Prints the JSON Schema of the spec language.
pub(super) fn run(_args: &SchemaArgs, _global: &Global) -> Result<Outcome, CliError> {
    println!("{:#}", cupola_specs::spec::schema());
    Ok(Outcome::Done)
}
