//! `cupola why`.

use clap::Args;
use serde_json::json;

use super::invocation::{Invocation, prepare_again};
use super::select::{RunArgs, find_run, find_steps, projection};
use super::{CliError, Global, Outcome};
use crate::plan::{Action, Decision};
use crate::state::{Projection, RunView, StepView};

/// Arguments of `cupola why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The job or step.
    pub job: String,
    /// Which run.
    #[command(flatten)]
    pub run: RunArgs,
    /// The spec as it is now; the run's own file where it is left out.
    #[arg(long, value_name = "FILE")]
    pub spec: Option<std::path::PathBuf>,
}

/// Says why a job runs, is cached or failed.
pub(super) fn run(args: &WhyArgs, global: &Global) -> Result<Outcome, CliError> {
    let projection = projection(global)?;
    let run = find_run(&projection, args.run.run.as_deref())?;
    let steps = find_steps(&run, &args.job)?;
    // What the spec says now may differ from what the run was made from, or may not load: both are told apart below.
    let now = decisions_now(args, global, &projection, &run);
    if global.json {
        let rows: Vec<_> = steps.iter().map(|step| json_row(step, now.as_deref().ok())).collect();
        println!("{:#}", json!({ "run": run.id, "steps": rows }));
        return Ok(Outcome::Done);
    }
    for step in steps {
        println!("{}", step.name);
        println!("  in run {}: {}: {}", run.id, step.state.as_str(), step.reason);
        if let Some(error) = &step.error {
            println!("    failed: {} ({})", error.message, error.code);
            if !error.hint.is_empty() {
                println!("    {}", error.hint);
            }
        }
        match &now {
            Ok(decisions) => {
                if let Some(decision) = decisions.iter().find(|decision| decision.step == step.name) {
                    println!("  now: {}: {}", word(decision), decision.why());
                    println!("  fingerprint {}", decision.fingerprint);
                }
            }
            Err(error) => println!("  now: the spec can't be planned: {error}"),
        }
    }
    Ok(Outcome::Done)
}

fn decisions_now(
    args: &WhyArgs,
    global: &Global,
    projection: &Projection,
    run: &RunView,
) -> Result<Vec<Decision>, CliError> {
    let mut invocation = Invocation::of(projection, run);
    if let Some(spec) = &args.spec {
        invocation.spec.clone_from(spec);
    }
    prepare_again(global, &invocation).map(|prepared| prepared.decisions)
}

fn json_row(step: &StepView, now: Option<&[Decision]>) -> serde_json::Value {
    let decision = now.and_then(|decisions| decisions.iter().find(|decision| decision.step == step.name));
    json!({
        "step": step.name,
        "state": step.state,
        "reason": step.reason,
        "error": step.error,
        "now": decision,
        "now_why": decision.map(Decision::why),
    })
}

fn word(decision: &Decision) -> String {
    match decision.action {
        Action::Cached => "cached".to_owned(),
        Action::Run => "would run".to_owned(),
        Action::Resume { at_step } => format!("would resume at step {at_step}"),
    }
}
