//! `cupola status`.

use clap::Args;

use super::select::{RunArgs, find_run, projection};
use super::tables::step_table;
use super::{CliError, Global, Outcome};
use crate::report::format;
use crate::state::{RunState, RunView, StepState, holder, now_millis};

/// Arguments of `cupola status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Which run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Shows how a run stands.
pub(super) fn run(args: &StatusArgs, global: &Global) -> Result<Outcome, CliError> {
    let projection = projection(global)?;
    let run = find_run(&projection, args.run.run.as_deref())?;
    let holder = holder(&global.state_dir());
    if global.json {
        println!("{:#}", serde_json::json!({ "run": run, "driven_by": holder }));
        return Ok(Outcome::Done);
    }
    println!("run {} of {}: {}", run.id, run.spec_path.display(), run.state.as_str());
    match &holder {
        Some(holder) => println!("driven by process {} on {} ({})", holder.pid, holder.host, holder.command),
        None if !run.state.is_final() => {
            println!("nobody drives it now; `cupola apply {}` goes on", run.spec_path.display());
        }
        None => {}
    }
    println!("\n{}", step_table(&run, now_millis()));
    print_live(&run);
    for step in run.steps.iter().filter(|step| step.state != StepState::Succeeded) {
        if let Some(error) = &step.error {
            println!("\n{}: {} ({})", step.name, error.message, error.code);
            if !error.hint.is_empty() {
                println!("  {}", error.hint);
            }
        }
    }
    Ok(if run.state == RunState::Failed { Outcome::Failed } else { Outcome::Done })
}

fn print_live(run: &RunView) {
    for step in run.steps.iter().filter(|step| step.state.is_live()) {
        let Some(progress) = &step.progress else { continue };
        let left = (progress.total - progress.done) / progress.rate;
        let eta =
            if progress.rate > 0.0 { format!(", {} left", format::duration(left)) } else { String::new() };
        println!(
            "{}: {} {} of {} {} ({}/s{eta})",
            step.name,
            progress.stage,
            format::short(progress.done),
            format::short(progress.total),
            progress.unit,
            format::short(progress.rate)
        );
    }
}
