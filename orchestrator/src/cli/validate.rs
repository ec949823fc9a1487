//! `cupola validate`.

use clap::Args;

use super::load::{SpecArgs, load_spec};
use super::{CliError, Global, Outcome};

/// Arguments of `cupola validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Which spec.
    #[command(flatten)]
    pub spec: SpecArgs,
}

/// Checks a spec and prints every error in it.
pub(super) fn run(args: &ValidateArgs, global: &Global) -> Result<Outcome, CliError> {
    let spec = load_spec(&args.spec.spec, &args.spec.overrides, global.json)?;
    if global.json {
        println!("{}", serde_json::json!({ "ok": true, "name": spec.name, "jobs": spec.jobs.len() }));
    } else {
        println!("{}: ok, {} jobs", spec.file.display(), spec.jobs.len());
    }
    Ok(Outcome::Done)
}
