//! `cupola export --for`: a pretraining for another engine.

use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use cupola_specs::job::{ModelParams, StepKind, StepParams, TokenBudget};

use super::export::{ExportArgs, ExportEngine, io, prepare_target, worker_failed};
use super::load::{build_plan, load_spec};
use super::{CliError, Global, Outcome};
use crate::executor::LocalExecutor;
use crate::plan::{Input, Machine, Plan, PlannedStep};
use crate::run::job_outside_a_run;
use crate::store::Store;

/// Has the worker write the data and the run: it knows the tokens, and what `auto` resolves to.
pub(super) fn hand_over(
    args: &ExportArgs,
    (engine, spec_file): (ExportEngine, &Path),
    global: &Global,
) -> Result<Outcome, CliError> {
    let spec = load_spec(spec_file, &[], global.json)?;
    let plan = build_plan(global, &spec, Machine::detect())?;
    let planned = plan.step(&args.model).filter(|planned| planned.step.kind() == StepKind::Pretrain);
    let planned = planned.ok_or_else(|| {
        let message = format!("{} has no pretrain job `{}`", spec_file.display(), args.model);
        CliError::input(message, "only a pretraining is handed over to another engine")
    })?;
    let reads = |role: &str| role != "law" || needs_law(&planned.step.params);
    check_inputs(&plan, (planned, &reads), spec_file, global)?;
    prepare_target(&args.out)?;
    let folder = tempfile::tempdir().map_err(io(Path::new("a temporary folder")))?;
    let mut job = job_outside_a_run(&global.state_dir(), &plan, planned, folder.path());
    job.inputs.retain(|role, _| reads(role));
    let job_file = folder.path().join("job.json");
    let text = serde_json::to_vec(&job).map_err(|error| CliError::input(error.to_string(), ""))?;
    std::fs::write(&job_file, text).map_err(io(&job_file))?;
    let worker = LocalExecutor::worker_of_this_program()?;
    let word = engine.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let mut command = Command::new(&worker);
    command.arg("handover").arg(&job_file).arg(&word).arg(&args.out);
    let output = command.output().map_err(io(&worker))?;
    if !output.status.success() {
        return Err(worker_failed(&output));
    }
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| CliError::input(format!("the worker's report: {error}"), ""))?;
    if global.json {
        println!("{}", serde_json::json!({ "out": args.out, "engine": word, "report": report }));
        return Ok(Outcome::Done);
    }
    println!(
        "wrote {} for {word} to {}: {} parameters, {} steps of {} rows, {} tokens to train on",
        args.model,
        args.out.display(),
        report["total_params"],
        report["steps"],
        report["global_batch"],
        report["train_tokens"]
    );
    println!("what {word} does otherwise (README.md has it too):");
    for difference in report["differences"].as_array().into_iter().flatten() {
        println!("  {}", difference.as_str().unwrap_or_default());
    }
    Ok(Outcome::Done)
}

/// Whether a run's size is from a law; a forecast alone is no part of it.
fn needs_law(params: &StepParams) -> bool {
    match params {
        StepParams::Pretrain(params) => {
            matches!(params.model, ModelParams::Law { .. }) || params.tokens == TokenBudget::FromLaw
        }
        _ => false,
    }
}

/// What the step reads is in the store.
fn check_inputs(
    plan: &Plan,
    (planned, reads): (&PlannedStep, &dyn Fn(&str) -> bool),
    spec: &Path,
    global: &Global,
) -> Result<(), CliError> {
    let store = Store::new(&global.state_dir());
    let is_missing = |name: &&String| {
        plan.step(name)
            .is_some_and(|step| !store.contains(step.step.kind().artifact_kind(), &step.fingerprint))
    };
    let inputs = planned.step.inputs.iter().filter_map(|(role, input)| match input {
        Input::Step(name) if reads(role) => Some(name),
        Input::Step(_) | Input::Folder(_) => None,
    });
    let missing: Vec<&String> = inputs.filter(is_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let quoted: Vec<String> = missing.iter().map(|name| format!("--only '{name}'")).collect();
    let names: Vec<String> = missing.iter().map(|name| format!("`{name}`")).collect();
    Err(CliError::input(
        format!("{} has not run yet, which `{}` reads", names.join(", "), planned.step.name),
        format!("`cupola apply {} {}` makes it", spec.display(), quoted.join(" ")),
    ))
}
