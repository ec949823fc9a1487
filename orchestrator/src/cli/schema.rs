//! `cupola schema`.

use clap::Args;

use super::Outcome;

/// Arguments of `cupola schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Prints the OpenAPI document of the daemon's control API instead.
    #[arg(long)]
    pub api: bool,
}

/// Prints the JSON Schema of the spec language, or the document of the API.
pub(super) fn run(args: &SchemaArgs) -> Outcome {
    if args.api {
        println!("{:#}", serde_json::json!(crate::api::openapi()));
    } else {
        println!("{:#}", cupola_specs::spec::schema());
    }
    Outcome::Done
}
