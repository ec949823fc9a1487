//! `cupola why`: of a job, why it runs; of a document, what became of it.

use clap::Args;
use serde_json::json;

use super::corpus::{Corpus, is_document_id};
use super::invocation::{Invocation, prepare_again};
use super::select::{RunArgs, find_run, find_steps, projection};
use super::{CliError, Global, Outcome};
use crate::plan::{Action, Decision};
use crate::state::{Projection, RunView, StepView};
use crate::store::Store;

/// Arguments of `cupola why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The job or step; or a document's id, or the start of one (8 hex digits at least), as corpora and `dropped.jsonl.zst` have it.
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
    let is_step = run.steps.iter().any(|step| step.name == args.job || step.job == args.job);
    if !is_step && is_document_id(&args.job) {
        return document(&args.job, global, &run);
    }
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

/// Says what became of a document in the corpora of a run.
fn document(id: &str, global: &Global, run: &RunView) -> Result<Outcome, CliError> {
    let store = Store::new(&global.state_dir());
    let mut found = Vec::new();
    let mut steps = Vec::new();
    for step in &run.steps {
        let Some(corpus) = Corpus::of_step(&store, run, step)? else { continue };
        found.extend(corpus.find(id)?);
        steps.push(corpus.name);
    }
    if found.is_empty() {
        let message = format!("no document of run {} has an id that starts with `{id}`", run.id);
        let hint = match &steps[..] {
            [] => "the run has no finished corpus".to_owned(),
            steps => format!("looked in {}; another run is named by --run", steps.join(", ")),
        };
        return Err(CliError::input(message, hint));
    }
    if global.json {
        println!("{:#}", json!({ "run": run.id, "documents": found }));
        return Ok(Outcome::Done);
    }
    for fate in &found {
        print!("{fate}");
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
