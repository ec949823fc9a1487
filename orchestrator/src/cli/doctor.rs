//! `cupola doctor`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{CliError, Global, Outcome};
use crate::executor::LocalExecutor;
use crate::plan::Machine;
use crate::state::{check_database, holder, read_journal};
use crate::store::Store;

/// Arguments of `cupola doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Makes the database again from the journal.
    #[arg(long)]
    pub rebuild: bool,
}

/// One finding.
struct Finding {
    good: bool,
    text: String,
}

/// Checks journal, database, store and binaries.
pub(super) fn run(args: &DoctorArgs, global: &Global) -> Result<Outcome, CliError> {
    let mut findings = Vec::new();
    check_state(args, global, &mut findings);
    check_store(global, &mut findings)?;
    check_binaries(&mut findings);
    let good = findings.iter().all(|finding| finding.good);
    if global.json {
        let rows: Vec<_> = findings.iter().map(|f| json!({ "ok": f.good, "text": f.text })).collect();
        println!("{:#}", json!({ "ok": good, "findings": rows }));
    } else {
        for finding in &findings {
            println!("{} {}", if finding.good { "ok  " } else { "BAD " }, finding.text);
        }
    }
    Ok(if good { Outcome::Done } else { Outcome::Failed })
}

fn check_state(args: &DoctorArgs, global: &Global, findings: &mut Vec<Finding>) {
    let dir = global.state_dir();
    if !dir.journal().exists() {
        findings.push(Finding { good: true, text: format!("state: none yet in {}", dir.root().display()) });
        return;
    }
    if let Some(holder) = holder(&dir) {
        let text = format!("state: in use by process {} on {} ({})", holder.pid, holder.host, holder.command);
        findings.push(Finding { good: !args.rebuild, text });
        let journal = read_journal(&dir.journal()).map(|contents| contents.records.len());
        findings.push(match journal {
            Ok(records) => Finding { good: true, text: format!("journal: {records} records, chain whole") },
            Err(error) => Finding { good: false, text: error.to_string() },
        });
        return;
    }
    match check_database(&dir, args.rebuild) {
        Ok(lines) => findings.extend(lines.into_iter().map(|text| Finding { good: true, text })),
        Err(error) => findings.push(Finding { good: false, text: format!("{error} ({})", error.hint()) }),
    }
}

fn check_store(global: &Global, findings: &mut Vec<Finding>) -> Result<(), CliError> {
    let store = Store::new(&global.state_dir());
    let artifacts = store.list()?;
    let mut whole = 0;
    for artifact in &artifacts {
        let problems = store.verify(artifact)?;
        if problems.is_empty() {
            whole += 1;
        } else {
            let text = format!("store: {}: {}", artifact.path.display(), problems.join(", "));
            findings.push(Finding { good: false, text });
        }
    }
    findings
        .push(Finding { good: true, text: format!("store: {whole} of {} artifacts whole", artifacts.len()) });
    Ok(())
}

fn check_binaries(findings: &mut Vec<Finding>) {
    match LocalExecutor::of_this_program() {
        Ok(_) => findings.push(Finding { good: true, text: "worker: found".to_owned() }),
        Err(error) => {
            findings.push(Finding { good: false, text: format!("worker: {error} ({})", error.hint()) });
        }
    }
    let libtorch = std::env::var_os("LIBTORCH").map(PathBuf::from);
    if let Some(folder) = libtorch {
        let library = folder.join("lib/libtorch_cpu.so");
        let good = library.exists();
        let word = if good { "found" } else { "missing" };
        findings.push(Finding { good, text: format!("libtorch: {word} at {}", library.display()) });
    }
    let machine = Machine::detect();
    let text = format!(
        "machine: {} cores, {} CUDA devices, fast bf16 on the CPU: {}",
        machine.cores,
        machine.devices,
        if machine.cpu_bf16 { "yes" } else { "no" }
    );
    findings.push(Finding { good: true, text });
}
