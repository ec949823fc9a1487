//! `cupola get`.

use clap::{Args, ValueEnum};
use comfy_table::Table;
use serde_json::{Value, json};

use super::select::{RunArgs, find_run, find_steps, projection};
use super::tables::{plain_table, step_table, text_of};
use super::{CliError, Global, Outcome};
use crate::report::format;
use crate::state::{ArtifactView, Projection, RunView, now_millis};

/// Arguments of `cupola get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// What is listed.
    pub what: What,
    /// One job or step (metrics).
    pub job: Option<String>,
    /// Which run (steps, metrics).
    #[command(flatten)]
    pub run: RunArgs,
}

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Every run.
    Runs,
    /// Steps of a run.
    Steps,
    /// Artifacts of the store.
    Artifacts,
    /// Schedules that the daemon knows.
    Schedules,
    /// Artifacts that are models.
    Models,
    /// Curves of a run.
    Metrics,
}

/// Lists runs, steps, artifacts, schedules, models or metrics.
pub(super) fn run(args: &GetArgs, global: &Global) -> Result<Outcome, CliError> {
    let projection = projection(global)?;
    let (object, text) = match args.what {
        What::Runs => runs(projection.runs()),
        What::Steps => {
            let run = find_run(&projection, args.run.run.as_deref())?;
            (json!(run.steps), step_table(&run, now_millis()))
        }
        What::Artifacts => artifacts(projection.artifacts().values().collect()),
        What::Models => artifacts(projection.artifacts().values().filter(|a| a.kind == "model").collect()),
        What::Schedules => schedules(&projection),
        What::Metrics => metrics(&find_run(&projection, args.run.run.as_deref())?, args.job.as_deref())?,
    };
    if global.json {
        println!("{object:#}");
    } else {
        println!("{text}");
    }
    Ok(Outcome::Done)
}

fn runs(runs: &[RunView]) -> (Value, String) {
    let mut table = plain_table(&["RUN", "SPEC", "STATE", "CREATED", "TIME", "STEPS", "CACHED"]);
    for run in runs.iter().rev() {
        let end = run.ended_millis.unwrap_or_else(now_millis);
        table.add_row([
            run.id.clone(),
            run.spec_path.display().to_string(),
            run.state.as_str().to_owned(),
            format::time(run.created_millis),
            format::duration((end - run.created_millis) as f64 / 1000.0),
            run.steps.len().to_string(),
            run.steps.iter().filter(|step| step.cached).count().to_string(),
        ]);
    }
    (json!(runs), text_of(&table))
}

fn artifacts(mut artifacts: Vec<&ArtifactView>) -> (Value, String) {
    artifacts.sort_by_key(|artifact| artifact.created_millis);
    let mut table = plain_table(&["FINGERPRINT", "KIND", "STEP", "RUN", "SIZE", "CREATED"]);
    for artifact in &artifacts {
        table.add_row([
            artifact.fingerprint[..12.min(artifact.fingerprint.len())].to_owned(),
            artifact.kind.clone(),
            artifact.step.clone(),
            artifact.run.clone(),
            format::bytes(artifact.size_bytes),
            format::time(artifact.created_millis),
        ]);
    }
    (json!(artifacts), text_of(&table))
}

fn schedules(projection: &Projection) -> (Value, String) {
    let mut table: Table = plain_table(&["SCHEDULE", "VALUE"]);
    let mut object = serde_json::Map::new();
    for (name, value) in projection.notes("schedule") {
        table.add_row([name.clone(), value.to_string()]);
        object.insert(name.clone(), value.clone());
    }
    (Value::Object(object), text_of(&table))
}

fn metrics(run: &RunView, job: Option<&str>) -> Result<(Value, String), CliError> {
    let steps = match job {
        Some(job) => find_steps(run, job)?,
        None => run.steps.iter().collect(),
    };
    let mut table = plain_table(&["STEP", "METRIC", "POINTS", "LAST", "AT STEP"]);
    let mut object = serde_json::Map::new();
    for step in steps {
        for (name, series) in &step.metrics {
            let Some((at, value)) = series.last else { continue };
            table.add_row([
                step.name.clone(),
                name.clone(),
                series.all().len().to_string(),
                format!("{value:.5}"),
                at.to_string(),
            ]);
        }
        if !step.metrics.is_empty() {
            let curves: serde_json::Map<String, Value> =
                step.metrics.iter().map(|(name, series)| (name.clone(), json!(series.all()))).collect();
            object.insert(step.name.clone(), Value::Object(curves));
        }
    }
    Ok((Value::Object(object), text_of(&table)))
}
