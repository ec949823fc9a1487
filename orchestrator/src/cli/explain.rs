//! `cupola explain`.

use clap::Args;
use cupola_specs::spec::{explain, explained_paths, overview};

use super::{CliError, Global, Outcome};

/// Arguments of `cupola explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A field (`pretrain.tokens`), a kind (`rlhf`), or the code of a diagnostic (`E0201`). Without it all keys, kinds and codes are
    /// listed.
    pub path: Option<String>,
}

/// Explains a field of the spec language, or a code of its diagnostics with a wrong example and the right one.
pub(super) fn run(args: &ExplainArgs, global: &Global) -> Result<Outcome, CliError> {
    let Some(path) = &args.path else {
        let overview = overview();
        if global.json {
            println!("{:#}", serde_json::json!(overview));
        } else {
            print!("{overview}");
        }
        return Ok(Outcome::Done);
    };
    let explanation = explain(path).ok_or_else(|| {
        let known = explained_paths().join(", ");
        CliError::input(
            format!("the spec language has no `{path}`"),
            format!("it begins with one of {known}; `cupola explain` lists them and the codes"),
        )
    })?;
    if global.json {
        println!("{:#}", serde_json::json!(explanation));
    } else {
        println!("{}", explanation.to_string().trim_end());
    }
    Ok(Outcome::Done)
}
