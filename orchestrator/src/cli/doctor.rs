//! `cupola doctor`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{CliError, Global, Outcome};
use crate::executor::{LocalExecutor, find_below};
use crate::plan::Machine;
use crate::promote::{read_served, served_of};
use crate::state::{
    Finding, State, StateDir, StateError, check_state, cut_damage, export_state, holder, read_journal,
};
use crate::store::Store;

/// Arguments of `cupola doctor`.
#[derive(Debug, Default, Args)]
pub struct DoctorArgs {
    /// Makes the database again from the journal.
    #[arg(long)]
    pub rebuild: bool,
    /// Gives up the records of a damaged journal from the damage on, where the database can't restore them.
    #[arg(long, conflicts_with = "export")]
    pub cut_damage: bool,
    /// Writes every record of the journal and every row of the database to a file, as lines of JSON.
    #[arg(long, value_name = "FILE", conflicts_with = "rebuild")]
    pub export: Option<PathBuf>,
}

/// Checks journal, database, store and binaries.
pub(super) fn run(args: &DoctorArgs, global: &Global) -> Result<Outcome, CliError> {
    if let Some(file) = &args.export {
        return export(file, global);
    }
    let findings = findings(args, global)?;
    let is_good = findings.iter().all(|finding| finding.is_good);
    if global.json {
        println!("{:#}", json!({ "ok": is_good, "findings": findings }));
    } else {
        for finding in &findings {
            println!("{} {}", if finding.is_good { "ok  " } else { "BAD " }, finding.text);
        }
    }
    Ok(if is_good { Outcome::Done } else { Outcome::Failed })
}

/// What a check of everything finds.
pub(super) fn findings(args: &DoctorArgs, global: &Global) -> Result<Vec<Finding>, CliError> {
    let mut findings = Vec::new();
    state_findings(args, global, &mut findings);
    store_findings(global, &mut findings)?;
    binary_findings(&mut findings);
    Ok(findings)
}

fn export(file: &Path, global: &Global) -> Result<Outcome, CliError> {
    let dir = global.state_dir();
    if !dir.journal().exists() {
        return Err(CliError::input(
            format!("there is no state in {}", dir.root().display()),
            "give --state",
        ));
    }
    let io = |source| CliError::Io { path: file.to_path_buf(), source };
    let mut writer = std::io::BufWriter::new(std::fs::File::create(file).map_err(io)?);
    export_state(&dir, &mut writer)?;
    std::io::Write::flush(&mut writer).map_err(io)?;
    if !global.json {
        println!("wrote {}", file.display());
    }
    Ok(Outcome::Done)
}

fn state_findings(args: &DoctorArgs, global: &Global, findings: &mut Vec<Finding>) {
    let dir = global.state_dir();
    if !dir.journal().exists() {
        findings.push(Finding::good(format!("state: none yet in {}", dir.root().display())));
        return;
    }
    if let Some(holder) = holder(&dir) {
        let text = format!("state: in use by process {} on {} ({})", holder.pid, holder.host, holder.command);
        findings.push(Finding { is_good: !args.rebuild, text });
        findings.push(match read_journal(&dir.journal()) {
            Ok(contents) => {
                Finding::good(format!("journal: {} records, chain whole", contents.records.len()))
            }
            Err(error) => Finding::bad(error.to_string()),
        });
        return;
    }
    match check_state(&dir, args.rebuild) {
        Ok(found) => {
            findings.extend(found);
            findings.extend(served_findings(args, global));
        }
        Err(damage @ StateError::Journal { .. }) if args.cut_damage => {
            findings.push(Finding::good(damage.to_string()));
            findings.push(cut(&dir, global).unwrap_or_else(|error| broken(&error)));
        }
        Err(error) => findings.push(broken(&error)),
    }
}

fn broken(error: &StateError) -> Finding {
    Finding::bad(format!("{error} ({})", error.hint()))
}

/// Cuts the journal before its damage, unless something that it may not know of any more still runs.
fn cut(dir: &StateDir, global: &Global) -> Result<Finding, StateError> {
    if let Some(worker) = find_below(&dir.root().join("runs")) {
        let pid = worker.pid;
        return Ok(Finding::bad(format!(
            "process {pid} works in this folder: end it first, or its step could run twice"
        )));
    }
    let kept = cut_damage(dir)?;
    let result = format!("cut after record {kept}");
    State::open(dir, "doctor")?.record(vec![global.acted(&result)])?;
    Ok(Finding::good(format!(
        "journal: {result}; what it said after that is lost, the damaged file is journal.damaged, and artifacts are in the store as before"
    )))
}

/// Whether `served.json` says what the journal says; and who made the database again.
fn served_findings(args: &DoctorArgs, global: &Global) -> Vec<Finding> {
    let dir = global.state_dir();
    let before = read_served(&dir);
    // Opening the folder is what writes the file anew.
    let mut state = match State::open(&dir, "doctor") {
        Ok(state) => state,
        Err(error) => return vec![broken(&error)],
    };
    if args.rebuild
        && let Err(error) = state.record(vec![global.acted("made again")])
    {
        return vec![broken(&error)];
    }
    let served = served_of(state.projection());
    if served.models.is_empty() && before.is_none() {
        return Vec::new();
    }
    let ids: Vec<&str> = served.models.iter().map(|model| model.promotion.as_str()).collect();
    let ids = if ids.is_empty() { "nothing".to_owned() } else { ids.join(", ") };
    let word =
        if before.as_ref() == Some(&served) { "agrees with the journal" } else { "differed; made again" };
    let mut findings = vec![Finding::good(format!("served: {word} ({ids})"))];
    for model in served.models.iter().filter(|model| !model.folder.join("config.json").is_file()) {
        let text = format!("served: the model of {} is gone: {}", model.promotion, model.folder.display());
        findings.push(Finding::bad(text));
    }
    findings
}

fn store_findings(global: &Global, findings: &mut Vec<Finding>) -> Result<(), CliError> {
    let store = Store::new(&global.state_dir());
    let artifacts = store.list()?;
    let mut whole = 0;
    for artifact in &artifacts {
        let problems = store.verify(artifact)?;
        if problems.is_empty() {
            whole += 1;
        } else {
            let text = format!("store: {}: {}", artifact.path.display(), problems.join(", "));
            findings.push(Finding::bad(text));
        }
    }
    findings.push(Finding::good(format!("store: {whole} of {} artifacts whole", artifacts.len())));
    Ok(())
}

fn binary_findings(findings: &mut Vec<Finding>) {
    findings.push(match LocalExecutor::of_this_program() {
        Ok(_) => Finding::good("worker: found"),
        Err(error) => Finding::bad(format!("worker: {error} ({})", error.hint())),
    });
    let libtorch = std::env::var_os("LIBTORCH").map(PathBuf::from);
    if let Some(folder) = libtorch {
        let library = folder.join("lib/libtorch_cpu.so");
        let is_good = library.exists();
        let word = if is_good { "found" } else { "missing" };
        findings.push(Finding { is_good, text: format!("libtorch: {word} at {}", library.display()) });
    }
    let machine = Machine::detect();
    findings.push(Finding::good(format!(
        "machine: {} cores, {} CUDA devices, fast bf16 on the CPU: {}",
        machine.cores,
        machine.devices,
        if machine.cpu_bf16 { "yes" } else { "no" }
    )));
}
