//! `cupola gc`.

use clap::Args;
use serde_json::json;

use super::select::projection;
use super::tables::{plain_table, text_of};
use super::{CliError, Global, Outcome};
use crate::report::format;
use crate::state::{Fact, State};
use crate::store::{GcPlan, Store, plan_gc};

/// Arguments of `cupola gc`.
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Deletes; without it, what would go is listed.
    #[arg(long)]
    pub yes: bool,
    /// Runs of each spec whose artifacts stay, newest first.
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub keep_runs: usize,
}

/// Deletes artifacts that nothing needs; only lists them without --yes.
pub(super) fn run(args: &GcArgs, global: &Global) -> Result<Outcome, CliError> {
    let dir = global.state_dir();
    let store = Store::new(&dir);
    if !args.yes {
        let plan = plan_gc(&projection(global)?, &store, args.keep_runs)?;
        print(&plan, global, "would free");
        if !plan.items.is_empty() && !global.json {
            println!("nothing was deleted; `cupola gc --yes` does");
        }
        return Ok(Outcome::Done);
    }
    let mut state = State::open(&dir, "gc")?;
    let plan = plan_gc(state.projection(), &store, args.keep_runs)?;
    state.record(vec![global.acted(&format!("{} things", plan.items.len()))])?;
    for item in &plan.items {
        if item.what == "artifact" {
            // Recorded first: an artifact that is said to be there is there.
            state.record(vec![Fact::ArtifactDeleted { fingerprint: item.name.clone() }])?;
            store.delete(&item.kind, &item.name)?;
        } else {
            let io = |source| CliError::Io { path: item.path.clone(), source };
            std::fs::remove_dir_all(&item.path).map_err(io)?;
        }
    }
    print(&plan, global, "freed");
    Ok(Outcome::Done)
}

fn print(plan: &GcPlan, global: &Global, verb: &str) {
    let bytes: u64 = plan.items.iter().map(|item| item.size_bytes).sum();
    if global.json {
        println!(
            "{:#}",
            json!({ "items": plan.items, "kept_artifacts": plan.kept_artifacts, "bytes": bytes })
        );
        return;
    }
    if !plan.items.is_empty() {
        let mut table = plain_table(&["WHAT", "KIND", "NAME", "SIZE"]);
        for item in &plan.items {
            let name: String = item.name.chars().take(24).collect();
            table.add_row([item.what.to_owned(), item.kind.clone(), name, format::bytes(item.size_bytes)]);
        }
        println!("{}", text_of(&table));
    }
    println!("{verb} {}; {} artifacts stay", format::bytes(bytes), plan.kept_artifacts);
}
