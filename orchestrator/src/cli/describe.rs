//! `cupola describe`.

use clap::Args;
use serde_json::{Value, json};

use super::corpus::Corpus;
use super::select::{RunArgs, find_run, find_steps, projection};
use super::{CliError, Global, Outcome};
use crate::state::{ArtifactView, Projection};
use crate::store::Store;

/// Arguments of `cupola describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// A run, a job or step of a run, or the start of a fingerprint.
    pub id: String,
    /// Which run, for a job or step.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Shows everything about a run, step, artifact or attempt.
pub(super) fn run(args: &DescribeArgs, global: &Global) -> Result<Outcome, CliError> {
    let projection = projection(global)?;
    let mut object = describe(args, global, &projection)?;
    let corpora = corpora(args, global, &projection)?;
    if global.json {
        if let ([corpus], Value::Object(object)) = (&corpora[..], &mut object) {
            object.insert("corpus".to_owned(), json!(corpus.statistics));
        }
        println!("{object:#}");
        return Ok(Outcome::Done);
    }
    let text = serde_yaml::to_string(&object)
        .map_err(|error| CliError::input(format!("could not be shown: {error}"), ""))?;
    print!("{text}");
    for corpus in &corpora {
        print!("\n{}", corpus.funnel());
    }
    Ok(Outcome::Done)
}

/// The corpora that are meant: that of an artifact, or those of the steps of a job.
fn corpora(args: &DescribeArgs, global: &Global, projection: &Projection) -> Result<Vec<Corpus>, CliError> {
    let store = Store::new(&global.state_dir());
    if projection.run(&args.id).is_some() {
        return Ok(Vec::new());
    }
    if let Some(artifact) = find_artifact(projection, &args.id)? {
        return Ok(Corpus::of_artifact(&store, &artifact.kind, &artifact.fingerprint)?.into_iter().collect());
    }
    let run = find_run(projection, args.run.run.as_deref())?;
    let steps = find_steps(&run, &args.id)?;
    let corpora = steps.into_iter().map(|step| Corpus::of_step(&store, &run, step));
    corpora.filter_map(Result::transpose).collect()
}

fn describe(args: &DescribeArgs, global: &Global, projection: &Projection) -> Result<Value, CliError> {
    if projection.run(&args.id).is_some() {
        let mut run = find_run(projection, Some(&args.id))?;
        for step in &mut run.steps {
            step.metrics.clear();
            step.samples.clear();
        }
        return Ok(json!(run));
    }
    if let Some(artifact) = find_artifact(projection, &args.id)? {
        let store = Store::new(&global.state_dir());
        let stored = store.get(&artifact.kind, &artifact.fingerprint)?;
        return Ok(json!({ "artifact": artifact, "manifest": stored.map(|stored| stored.manifest) }));
    }
    let run = find_run(projection, args.run.run.as_deref())?;
    let steps: Vec<Value> = find_steps(&run, &args.id)?
        .into_iter()
        .map(|step| {
            let mut object = json!(step);
            let last: serde_json::Map<String, Value> = step
                .metrics
                .iter()
                .filter_map(|(name, series)| Some((name.clone(), json!(series.last?.1))))
                .collect();
            object["metrics"] = Value::Object(last);
            object
        })
        .collect();
    Ok(if let [step] = &steps[..] { step.clone() } else { Value::Array(steps) })
}

/// The artifact whose fingerprint starts with `id`; an error where several do.
pub(super) fn find_artifact<'a>(
    projection: &'a Projection,
    id: &str,
) -> Result<Option<&'a ArtifactView>, CliError> {
    if id.len() < 4 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let mut found = projection.artifacts().values().filter(|artifact| artifact.fingerprint.starts_with(id));
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => {
            let both = format!("{} and {}", first.fingerprint, second.fingerprint);
            Err(CliError::input(format!("`{id}` is the start of several fingerprints"), both))
        }
        (first, _) => Ok(first),
    }
}
