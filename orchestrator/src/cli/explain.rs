//! `cupola explain`.

use clap::Args;
use cupola_specs::spec::{explain, explained_paths};

use super::{CliError, Global, Outcome};

/// Arguments of `cupola explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A field (`pretrain.tokens`), a kind (`rlhf`), or the code of a diagnostic (`E0201`).
    pub path: String,
}

/// Explains a field of the spec language.
pub(super) fn run(args: &ExplainArgs, global: &Global) -> Result<Outcome, CliError> {
    let explanation = explain(&args.path).ok_or_else(|| {
        let known = explained_paths().join(", ");
        CliError::input(
            format!("the spec language has no `{}`", args.path),
            format!("it begins with one of {known}"),
        )
    })?;
    if global.json {
        println!("{:#}", serde_json::json!(explanation));
    } else {
        println!("{}", explanation.to_string().trim_end());
    }
    Ok(Outcome::Done)
}
