//! `cupola chaos`.

use std::path::{Path, PathBuf};

use clap::Args;
use cupola_specs::contract::ErrorClass;

use super::{CliError, Global, Outcome};
use crate::chaos::{ChaosError, Done, FAULTS, drive, kill_orchestrators};
use crate::run::simulate_all;
use crate::state::RunState;

/// Arguments of `cupola chaos`.
#[derive(Debug, Args)]
pub struct ChaosArgs {
    /// Orchestrators that are killed at random moments.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub kills: u32,
    /// Histories of whole runs that are simulated in memory.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub histories: u64,
    /// Only faults whose name holds this; `none` for no fault.
    #[arg(long, value_name = "WORD")]
    pub fault: Option<String>,
    /// Draws the moments and the histories.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the drills' state folders are made; a temporary folder where it is left out.
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// Set on the orchestrators that are killed.
    #[arg(long, hide = true, value_name = "FOLDER")]
    pub drive: Option<PathBuf>,
}

/// Kills, stops and damages the parts of a drill until it is done anyway.
pub(super) fn run(args: &ChaosArgs, global: &Global) -> Result<Outcome, CliError> {
    if let Some(folder) = &args.drive {
        let done = drive(folder)? == RunState::Succeeded;
        return Ok(if done { Outcome::Done } else { Outcome::Failed });
    }
    let temporary = tempfile::tempdir().map_err(ChaosError::io(Path::new("temporary folder")))?;
    let root = args.folder.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(root).map_err(ChaosError::io(root))?;
    let say = |name: &str, seen: &str, outcome: &str| {
        if global.json {
            println!("{}", serde_json::json!({ "fault": name, "seen": seen, "outcome": outcome }));
        } else {
            println!("| {name} | {seen} | {outcome} |");
        }
    };
    if !global.json {
        println!("| fault | what the user sees | outcome |\n|---|---|---|");
    }
    let result = act(args, root, &say);
    if result.is_err() {
        // What broke a promise is to be looked at.
        let _ = temporary.keep();
    }
    result
}

fn act(args: &ChaosArgs, root: &Path, say: &dyn Fn(&str, &str, &str)) -> Result<Outcome, CliError> {
    if args.histories > 0 {
        let told =
            simulate_all(args.seed..args.seed + args.histories).map_err(|problem| CliError::Other {
                message: format!("an invariant is broken: {problem}"),
                hint: "please report it with that seed".to_owned(),
                class: ErrorClass::Bug,
            })?;
        let name = format!("{} histories in memory: power failures, late words, people", args.histories);
        say(
            &name,
            "-",
            &format!("every invariant held; {} crashes, {} attempts", told.crashes, told.attempts),
        );
    }
    if args.kills > 0 {
        let told = kill_orchestrators(root, args.kills, args.seed)?;
        let name = format!("{} orchestrators killed, {} of them starting up", told.kills, told.at_start);
        let outcome = format!(
            "{} drills of 60 steps done, each step committed once, outputs as undisturbed; {} workers and shims killed on top",
            told.drills, told.workers
        );
        say(&name, "the next `apply` goes on; steps that ran are not run again", &outcome);
    }
    let wanted = |name: &str| args.fault.as_ref().is_none_or(|word| name.contains(word.as_str()));
    for fault in FAULTS.iter().filter(|fault| wanted(fault.name)) {
        match fault.run(root)? {
            Done::Stood => {
                say(fault.name, fault.seen, "done, each step committed once, outputs as undisturbed");
            }
            Done::Skipped(why) => say(fault.name, fault.seen, &format!("skipped: {why}")),
        }
    }
    Ok(Outcome::Done)
}
