//! `cupola bundle`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::apply::display_path;
use super::doctor::{DoctorArgs, findings};
use super::select::find_run;
use super::tables::{plain_table, text_of};
use super::{CliError, Global, Outcome};
use crate::bundle::{
    Bundle, BundleError, Contents, Redactor, add_findings, add_journal, add_machine, add_run,
};
use crate::report::format;
use crate::state::{RunView, StateDir, now_millis, read_state};

/// Arguments of `cupola bundle`.
#[derive(Debug, Args)]
pub struct BundleArgs {
    /// The run; the newest where none is given.
    pub run: Option<String>,
    /// The archive; `cupola-bundle-RUN.tar.zst` where none is given.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Megabytes of the journal's end that come along.
    #[arg(long, value_name = "MB", default_value_t = 16)]
    pub journal_mb: usize,
}

/// Writes one file for a bug report: what happened, without secrets, models and data.
pub(super) fn run(args: &BundleArgs, global: &Global) -> Result<Outcome, CliError> {
    let dir = global.state_dir();
    let (view, problem) = chosen_run(args, &dir)?;
    let name = view.as_ref().map_or("state", |run| run.id.as_str());
    let out = args.out.clone().unwrap_or_else(|| format!("cupola-bundle-{name}.tar.zst").into());
    if out.exists() {
        // Said before the work; writing looks again.
        return Err(BundleError::Exists(out).into());
    }
    let environment: Vec<(String, String)> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    let secrets = view.as_ref().map(|run| secrets_of(&dir, &run.id)).unwrap_or_default();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let mut bundle = Bundle::new(Redactor::new(&environment, &secrets, home.as_deref())?, now_millis());
    add_machine(&mut bundle, &dir, &environment)?;
    // Before `doctor`, which drops a torn tail and makes a lost database again.
    add_journal(&mut bundle, &dir, args.journal_mb.saturating_mul(1_000_000))?;
    match &view {
        Some(run) => add_run(&mut bundle, &dir, run)?,
        None => bundle.leave_out("a run", problem.as_deref().unwrap_or("there is none yet")),
    }
    match findings(&DoctorArgs::default(), global) {
        Ok(found) => add_findings(&mut bundle, &found)?,
        Err(error) => bundle.leave_out("doctor.json", &error.to_string()),
    }
    let contents = bundle.write(&out)?;
    print(&contents, &out, global);
    Ok(Outcome::Done)
}

/// The run that is meant. State that can't be read is what some bug reports are about: it is told inside instead.
fn chosen_run(args: &BundleArgs, dir: &StateDir) -> Result<(Option<RunView>, Option<String>), CliError> {
    match read_state(dir) {
        Err(error) => Ok((None, Some(error.to_string()))),
        Ok(projection) if args.run.is_none() && projection.runs().is_empty() => Ok((None, None)),
        Ok(projection) => Ok((Some(find_run(&projection, args.run.as_deref())?), None)),
    }
}

/// Names of the environment variables that the run's spec takes secrets from.
fn secrets_of(dir: &StateDir, run: &str) -> Vec<String> {
    let bytes = std::fs::read(dir.run(run).join("spec.json")).unwrap_or_default();
    let mut names = Vec::new();
    let mut open: Vec<serde_json::Value> = serde_json::from_slice(&bytes).into_iter().collect();
    while let Some(value) = open.pop() {
        match value {
            serde_json::Value::Object(fields) => {
                // A secret is written as `{name}`.
                if let (1, Some(name)) = (fields.len(), fields.get("name").and_then(|name| name.as_str())) {
                    names.push(name.to_owned());
                }
                open.extend(fields.into_iter().map(|(_, value)| value));
            }
            serde_json::Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    names
}

fn print(contents: &Contents, out: &std::path::Path, global: &Global) {
    let size_bytes = std::fs::metadata(out).map_or(0, |data| data.len());
    if global.json {
        println!("{:#}", json!({ "file": out, "size_bytes": size_bytes, "contents": contents }));
        return;
    }
    let mut inside = plain_table(&["INSIDE", "SIZE", "REPLACED"]);
    for file in &contents.included {
        inside.add_row([file.name.clone(), format::bytes(file.size_bytes), file.redactions.to_string()]);
    }
    let mut outside = plain_table(&["LEFT OUT", "WHY"]);
    for left in &contents.left_out {
        outside.add_row([left.what.clone(), left.why.clone()]);
    }
    println!("{}\n\n{}\n", text_of(&inside), text_of(&outside));
    println!("wrote {} ({})", display_path(out), format::bytes(size_bytes));
    println!("secrets and home folders were replaced; look into it before you send it:");
    println!("  tar --zstd -xOf {} | less", display_path(out));
}

impl From<BundleError> for CliError {
    fn from(error: BundleError) -> Self {
        Self::Other { message: error.to_string(), hint: error.hint().to_owned(), class: error.class() }
    }
}
