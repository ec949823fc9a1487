//! `cupola diff`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Map, Value, json};

use super::describe::find_artifact;
use super::select::{find_run, projection};
use super::tables::{plain_table, text_of};
use super::{CliError, Global, Outcome};
use crate::plan::compare;
use crate::state::{Projection, RunView, StepView};
use crate::store::Store;

/// Arguments of `cupola diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A run, or the start of an artifact's fingerprint.
    pub a: String,
    /// Another one.
    pub b: String,
}

/// Compares parameters and metrics of two runs or artifacts.
pub(super) fn run(args: &DiffArgs, global: &Global) -> Result<Outcome, CliError> {
    let projection = projection(global)?;
    let a = facts(&projection, global, &args.a)?;
    let b = facts(&projection, global, &args.b)?;
    let mut rows: Vec<(String, Value, Value)> = Vec::new();
    let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for name in names {
        let null = Value::Null;
        compare(name, a.get(name).unwrap_or(&null), b.get(name).unwrap_or(&null), &mut rows);
    }
    if global.json {
        let rows: Vec<Value> = rows.iter().map(|(f, a, b)| json!({ "field": f, "a": a, "b": b })).collect();
        println!("{:#}", json!({ "a": args.a, "b": args.b, "differences": rows }));
    } else if rows.is_empty() {
        println!("no difference");
    } else {
        let mut table = plain_table(&["FIELD", &args.a, &args.b]);
        for (field, a, b) in rows {
            table.add_row([field, short(&a), short(&b)]);
        }
        println!("{}", text_of(&table));
    }
    Ok(Outcome::Done)
}

/// What is compared, by step (of a run) or by part (of an artifact).
fn facts(projection: &Projection, global: &Global, id: &str) -> Result<BTreeMap<String, Value>, CliError> {
    if let Some(artifact) = find_artifact(projection, id)? {
        let store = Store::new(&global.state_dir());
        let Some(stored) = store.get(&artifact.kind, &artifact.fingerprint)? else {
            return Err(CliError::input(
                format!("artifact {} is not in the store", artifact.fingerprint),
                "",
            ));
        };
        let manifest = stored.manifest;
        let params = serde_json::to_value(&manifest.params)
            .map_err(|error| CliError::input(format!("manifest of {id}: {error}"), ""))?;
        return Ok(BTreeMap::from([
            ("params".to_owned(), params),
            ("seed".to_owned(), manifest.seed.into()),
            ("inputs".to_owned(), json!(manifest.inputs)),
            ("summary".to_owned(), Value::Object(manifest.summary)),
        ]));
    }
    let run: RunView = find_run(projection, Some(id))?;
    Ok(run.steps.iter().map(|step| (step.name.clone(), step_facts(step))).collect())
}

fn step_facts(step: &StepView) -> Value {
    let metrics: Map<String, Value> = step
        .metrics
        .iter()
        .filter_map(|(name, series)| Some((name.clone(), json!(series.last?.1))))
        .collect();
    json!({ "params": step.params, "seed": step.seed, "metrics": metrics, "summary": step.summary })
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "–".to_owned(),
        Value::Number(number) if number.is_f64() => format!("{:.6}", number.as_f64().unwrap_or(f64::NAN)),
        other => other.to_string(),
    };
    if text.chars().count() > 48 { format!("{}…", text.chars().take(47).collect::<String>()) } else { text }
}
