//! `cupola status`.

use clap::Args;

use super::select::{RunArgs, find_row, find_run, projection};
use super::tables::{job_table, step_table};
use super::{CliError, Global, Outcome};
use crate::promote::{PromotionBook, served_line};
use crate::report::format;
use crate::state::WantedRoom;
use crate::state::{
    Holder, Projection, RunRow, RunState, RunView, StepState, StepView, fill_step, holder, now_millis,
    read_runs,
};

/// A run with more steps than this is told by job, unless each step is asked for.
const MANY_STEPS: usize = 200;
/// Of such a run so many jobs are told, and so many steps of those that live or failed.
const TOLD: usize = 40;

/// Arguments of `cupola status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Which run.
    #[command(flatten)]
    pub run: RunArgs,
    /// Lists each step of a run of more than 200 too.
    #[arg(long)]
    pub all: bool,
}

/// Shows how a run stands.
pub(super) fn run(args: &StatusArgs, global: &Global) -> Result<Outcome, CliError> {
    let holder = holder(&global.state_dir());
    if !args.all && !global.json {
        let runs = read_runs(&global.state_dir())?;
        let row = find_row(&runs, args.run.run.as_deref())?;
        if row.steps.len() > MANY_STEPS {
            return outline(&runs, row, holder.as_ref());
        }
    }
    let projection = projection(global)?;
    let run = find_run(&projection, args.run.run.as_deref())?;
    if global.json {
        println!("{:#}", serde_json::json!({ "run": run, "driven_by": holder }));
        return Ok(Outcome::Done);
    }
    head(&projection, projection.run(&run.id), holder.as_ref());
    println!("\n{}", step_table(&run, now_millis()));
    print_live(&run);
    print_errors(run.steps.iter());
    if let Some(served) = served_line(&PromotionBook::of(&projection), &run.spec_name) {
        println!("\n{served}");
    }
    Ok(outcome_of(run.state))
}

fn outcome_of(state: RunState) -> Outcome {
    if state == RunState::Failed { Outcome::Failed } else { Outcome::Done }
}

/// What is said before the steps.
fn head(runs: &Projection, run: Option<&RunRow>, holder: Option<&Holder>) {
    let Some(run) = run else { return };
    println!("run {} of {}: {}", run.id, run.spec_path.display(), run.state.as_str());
    if let Some(wanted) = WantedRoom::of(runs, run) {
        println!("{}", wanted.line());
    }
    match &holder {
        Some(holder) => println!("driven by process {} on {} ({})", holder.pid, holder.host, holder.command),
        None if !run.state.is_final() => {
            println!("nobody drives it now; `cupola apply {}` goes on", run.spec_path.display());
        }
        None => {}
    }
}

/// A run of very many steps: by job, then the steps that live or went wrong.
fn outline(runs: &Projection, row: &RunRow, holder: Option<&Holder>) -> Result<Outcome, CliError> {
    head(runs, Some(row), holder);
    println!("\n{}", job_table(row, TOLD));
    let mut run = RunView::of_run(row);
    let told = |state: StepState| {
        state.is_live() || matches!(state, StepState::Backoff | StepState::Failed | StepState::Cancelled)
    };
    let mut left = 0;
    for step in row.steps.iter().filter(|step| told(step.state)) {
        if run.steps.len() == TOLD {
            left += 1;
            continue;
        }
        let mut view = StepView::of(step);
        fill_step(runs, &mut view)?;
        run.steps.push(view);
    }
    if !run.steps.is_empty() {
        println!("\n{}", step_table(&run, now_millis()));
        print_live(&run);
        print_errors(run.steps.iter());
    }
    if left > 0 {
        println!("\n{left} more live or went wrong");
    }
    println!("\n`cupola status --all` lists each step");
    Ok(outcome_of(row.state))
}

fn print_errors<'a>(steps: impl Iterator<Item = &'a StepView>) {
    for step in steps.filter(|step| step.state != StepState::Succeeded) {
        if let Some(error) = &step.error {
            println!("\n{}: {} ({})", step.name, error.message, error.code);
            if !error.hint.is_empty() {
                println!("  {}", error.hint);
            }
        }
    }
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
