//! `cupola get`.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::alerts::known_alerts;
use super::promotions;
use super::schedule::known_schedules;
use super::select::{RunArgs, find_run, find_steps, projection};
use super::tables::{plain_table, step_table, text_of};
use super::{CliError, Global, Outcome};
use crate::report::format;
use crate::state::{ArtifactView, RunRow, RunView, now_millis, read_journal, read_runs, read_state_at};

/// Arguments of `cupola get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// What is listed.
    pub what: What,
    /// One job or step (metrics).
    pub job: Option<String>,
    /// Which run (steps, metrics, events).
    #[command(flatten)]
    pub run: RunArgs,
    /// As it stood right after this record of the journal (runs, artifacts, models, schedules, alerts, promotions), or events from this one on.
    #[arg(long, value_name = "NUMBER")]
    pub at: Option<u64>,
    /// Not before this (audit): so long ago, such as 7d or 12h, or a time.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only of this user, host, client or schedule (audit).
    #[arg(long, value_name = "NAME")]
    pub who: Option<String>,
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
    /// Schedules of the specs that were applied, with their next firings.
    Schedules,
    /// Artifacts that are models.
    Models,
    /// Curves of a run.
    Metrics,
    /// What was told to webhooks, and how reports compared with the ones before them.
    Alerts,
    /// Records of the journal: what became true, and when.
    Events,
    /// Models that were proposed, and what became of each.
    Promotions,
    /// Who did what that changes state.
    Audit,
}

/// Lists runs, steps, artifacts, schedules, models, metrics, alerts, events, promotions or who did what.
pub(super) fn run(args: &GetArgs, global: &Global) -> Result<Outcome, CliError> {
    let projection = match args.at.filter(|_| args.what != What::Events) {
        Some(seq) => read_state_at(&global.state_dir(), seq)?,
        None if args.what == What::Runs => read_runs(&global.state_dir())?,
        None => projection(global)?,
    };
    let (object, text) = match args.what {
        What::Runs => runs(projection.runs()),
        What::Steps => {
            let run = find_run(&projection, args.run.run.as_deref())?;
            (json!(run.steps), step_table(&run, now_millis()))
        }
        What::Artifacts => artifacts(projection.artifacts().values().collect()),
        What::Models => artifacts(projection.artifacts().values().filter(|a| a.kind == "model").collect()),
        What::Schedules => known_schedules(&projection),
        What::Alerts => known_alerts(&projection),
        What::Events => events(args, global)?,
        What::Promotions => promotions::listed(&projection),
        What::Audit => super::audit::listed((args.since.as_deref(), args.who.as_deref()), global)?,
        What::Metrics => metrics(&find_run(&projection, args.run.run.as_deref())?, args.job.as_deref())?,
    };
    if global.json {
        println!("{object:#}");
    } else {
        println!("{text}");
    }
    Ok(Outcome::Done)
}

fn runs(runs: &[RunRow]) -> (Value, String) {
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

/// Records of the journal, oldest first; of one run, where one is named.
fn events(args: &GetArgs, global: &Global) -> Result<(Value, String), CliError> {
    let mut records = read_journal(&global.state_dir().journal())?.records;
    records.retain(|record| record.seq >= args.at.unwrap_or(0));
    let mut table = plain_table(&["SEQ", "TIME", "FACT", "WHAT"]);
    let mut rows = Vec::new();
    for record in &records {
        let value = json!(record);
        let Some((name, body)) = value["fact"].as_object().and_then(|fact| fact.iter().next()) else {
            continue;
        };
        let of_run = body["run"].as_str();
        if args.run.run.as_deref().is_some_and(|run| of_run != Some(run)) {
            continue;
        }
        let what = ["verb", "run", "step", "token", "topic", "key", "fingerprint"].iter();
        let mut what: Vec<String> = what
            .filter_map(|field| body[*field].as_str())
            .map(|text| text.chars().take(40).collect())
            .collect();
        let outcome =
            ["/outcome/outcome", "/to/to", "/state"].iter().find_map(|path| body.pointer(path)?.as_str());
        what.extend(outcome.map(str::to_owned));
        what.extend(body["steps"].as_array().map(|steps| format!("{} steps", steps.len())));
        table.add_row([record.seq.to_string(), format::time(record.at_millis), name.clone(), what.join(" ")]);
        rows.push(value);
    }
    Ok((Value::Array(rows), text_of(&table)))
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
