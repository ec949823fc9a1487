//! `cupola schema`.

use clap::Args;

use super::Outcome;

/// Arguments of `cupola schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {}

/// Prints the JSON Schema of the spec language.
pub(super) fn run(_args: &SchemaArgs) -> Outcome {
    println!("{:#}", cupola_specs::spec::schema());
    Outcome::Done
}
