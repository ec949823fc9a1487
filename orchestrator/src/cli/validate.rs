//! `cupola validate`.

use clap::Args;
use cupola_specs::spec::{Diagnostics, Format, ResolvedSpec};
use serde_json::json;

use super::load::{SpecArgs, load_in};
use super::schedule::spec_warnings;
use super::{CliError, Global, Outcome};
use crate::state::now_millis;

/// Arguments of `cupola validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Which spec.
    #[command(flatten)]
    pub spec: SpecArgs,
}

/// Checks a spec and prints every error in it.
pub(super) fn run(args: &ValidateArgs, global: &Global) -> Result<Outcome, CliError> {
    let format = args.spec.format(global);
    let spec = load_in(&args.spec.spec, &args.spec.overrides, format)?;
    let warnings = spec_warnings(&spec, now_millis());
    if !matches!(format, Format::Json) {
        for warning in &warnings {
            eprintln!("warning: {warning}");
        }
    }
    print!("{}", report(&spec, &warnings, format));
    Ok(Outcome::Done)
}

/// What is said of a spec without errors.
fn report(spec: &ResolvedSpec, warnings: &[String], format: Format) -> String {
    let jobs = spec.jobs.len();
    match format {
        Format::Text => {
            let plural = if jobs == 1 { "job" } else { "jobs" };
            format!("{}: ok, {jobs} {plural}\n", spec.file.display())
        }
        Format::Json => {
            format!("{}\n", json!({ "ok": true, "name": spec.name, "jobs": jobs, "warnings": warnings }))
        }
        Format::Sarif | Format::Github => Diagnostics(Vec::new()).to_format(format),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cupola_specs::spec::{Code, ProcessEnvironment, parse};

    use super::*;

    const SPEC: &str = "cupola: v1
name: small
jobs:
  corpus: { kind: data, sources: [{ name: code, format: rust, paths: [a.rs] }] }
";

    #[test]
    fn a_right_spec_is_an_empty_log_in_each_format() {
        let spec = parse(Path::new("spec.yaml"), SPEC.as_bytes(), &[], &ProcessEnvironment).unwrap();
        assert_eq!(report(&spec, &[], Format::Text), "spec.yaml: ok, 1 job\n");
        assert_eq!(
            report(&spec, &[], Format::Json),
            "{\"ok\":true,\"name\":\"small\",\"jobs\":1,\"warnings\":[]}\n"
        );
        assert_eq!(report(&spec, &[], Format::Github), "");
        let sarif: serde_json::Value = serde_json::from_str(&report(&spec, &[], Format::Sarif)).unwrap();
        assert_eq!(sarif["runs"][0]["results"], json!([]));
        let rules = sarif["runs"][0]["tool"]["driver"]["rules"].as_array().map(Vec::len);
        assert_eq!(rules, Some(Code::ALL.len()));
    }
}
