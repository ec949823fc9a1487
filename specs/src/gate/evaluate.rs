//! Evaluating an expression over the rows of reports.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cel::objects::{Key, Map};
use cel::{Context, ExecutionError, Value};
use serde::{Deserialize, Serialize};

use super::expression::told;
use super::names::place_of;
use super::statistics::{Measured, is_better, is_not_worse};
use super::walk::{Mention, Use};
use super::{Gate, GateNames, word_of};
use crate::artifact::ReportRow;

/// What a number has.
pub(super) const FIELDS: [&str; 6] = ["value", "low", "high", "stderr", "n", "higher_is_better"];

/// What an expression is evaluated over.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GateFacts {
    /// Rows of the newest report about the model, by eval job.
    pub reports: BTreeMap<String, Vec<ReportRow>>,
    /// The same about the model that is served now, empty while none is; a job without comparable rows has none.
    pub previous: BTreeMap<String, Vec<ReportRow>>,
    /// Why jobs have no rows in `previous`, by job; `""` stands for all others.
    pub absent: BTreeMap<String, String>,
}

/// What an expression gave.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GateOutcome {
    /// Whether the model may replace the served one. Never after an error.
    pub passed: bool,
    /// Why it could not be evaluated; empty where it could.
    pub problem: String,
    /// The numbers that it speaks of, in the order of the text.
    pub seen: Vec<SeenNumber>,
}

/// A number as an expression saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeenNumber {
    /// Its name in the expression.
    pub name: String,
    /// The estimate.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// Independent units.
    pub n: u64,
}

impl Gate {
    /// Evaluates the expression.
    pub fn evaluate(&self, facts: &GateFacts) -> GateOutcome {
        let tables = Tables::of(facts);
        let seen = self.seen(&tables);
        let missing = self.mentions.names.iter().find(|mention| {
            matches!(mention.used, Use::Value | Use::Argument) && tables.row(&mention.path).is_none()
        });
        let result = tables.context().and_then(|context| self.program().execute(&context));
        let problem = match (result, missing) {
            (Ok(Value::Bool(passed)), _) => return GateOutcome { passed, problem: String::new(), seen },
            (Ok(_), _) => "it gives neither true nor false".to_owned(),
            (Err(_), Some(mention)) => missing_number(mention, facts),
            (Err(error), None) => told(&error),
        };
        GateOutcome { passed: false, problem, seen }
    }

    /// The numbers that it names and that are there.
    fn seen(&self, tables: &Tables<'_>) -> Vec<SeenNumber> {
        let mut seen: Vec<SeenNumber> = Vec::new();
        for mention in self.mentions.names.iter().filter(|mention| mention.used != Use::Presence) {
            let length = if mention.path[0] == "previous" { 5 } else { 4 };
            let Some(row) = tables.row(&mention.path) else { continue };
            let name = mention.path[..length].join(".");
            if seen.iter().all(|known| known.name != name) {
                seen.push(SeenNumber { name, value: row.value, low: row.low, high: row.high, n: row.n });
            }
        }
        seen
    }
}

fn missing_number(mention: &Mention, facts: &GateFacts) -> String {
    let written = mention.path.join(".");
    if mention.path[0] != "previous" {
        return format!("the report has no `{written}`");
    }
    let job = mention.path.get(1).map_or("", String::as_str);
    let reason = facts.absent.iter().find(|(known, _)| word_of(known) == job);
    match reason.map(|(_, reason)| reason).or_else(|| facts.absent.get("")) {
        Some(reason) => format!("there is no `{written}`: {reason}"),
        None => format!("the report of the served model has no `{written}`"),
    }
}

/// Rows of a report by suite, model and metric; none where two have one name.
type Rows<'f> = BTreeMap<[String; 3], Option<&'f ReportRow>>;
/// What a map holds.
type Entries = Vec<(String, Value)>;

/// The rows by name; of two with one name neither.
struct Tables<'f> {
    reports: BTreeMap<String, Rows<'f>>,
    previous: BTreeMap<String, Rows<'f>>,
}

impl<'f> Tables<'f> {
    fn of(facts: &'f GateFacts) -> Self {
        let table = |reports: &'f BTreeMap<String, Vec<ReportRow>>| {
            let of_job = |rows: &'f Vec<ReportRow>| {
                let mut places = BTreeMap::new();
                for row in rows {
                    places.entry(place_of(row)).and_modify(|known| *known = None).or_insert(Some(row));
                }
                places
            };
            reports.iter().map(|(job, rows)| (word_of(job), of_job(rows))).collect()
        };
        Self { reports: table(&facts.reports), previous: table(&facts.previous) }
    }

    /// The row of a name that spells one.
    fn row(&self, path: &[String]) -> Option<&'f ReportRow> {
        let (table, path) = match path {
            [previous, rest @ ..] if previous == "previous" => (&self.previous, rest),
            _ => (&self.reports, path),
        };
        let [job, suite, model, metric, ..] = path else { return None };
        *table.get(job)?.get(&[suite.clone(), model.clone(), metric.clone()])?
    }

    fn context(&self) -> Result<Context<'static, 'static>, ExecutionError> {
        let jobs = |table: &BTreeMap<String, Rows<'_>>| {
            let jobs = table.iter().map(|(job, rows)| (job.clone(), job_value(rows)));
            jobs.collect::<Entries>()
        };
        let mut variables = jobs(&self.reports);
        variables.push(("previous".to_owned(), map(jobs(&self.previous))));
        context(variables)
    }
}

/// An expression's world: these variables, the standard functions, and ours.
fn context(variables: Entries) -> Result<Context<'static, 'static>, ExecutionError> {
    let mut context = Context::default();
    for (name, value) in variables {
        context.add_variable_from_value(name, value);
    }
    let declared = context
        .add_function("better", |new: Value, old: Value| -> Result<bool, ExecutionError> {
            Ok(is_better(measured("better", &new)?, measured("better", &old)?))
        })
        .and_then(|()| {
            context.add_function(
                "not_worse",
                |new: Value, old: Value, margin: Value| -> Result<bool, ExecutionError> {
                    let margin = number("not_worse", &margin)?;
                    Ok(is_not_worse(measured("not_worse", &new)?, measured("not_worse", &old)?, margin))
                },
            )
        });
    declared.map_err(|error| ExecutionError::InternalError(error.to_string()))?;
    Ok(context)
}

/// A world with an invented number under every name.
pub(super) fn context_of_samples(names: &GateNames) -> Option<Context<'static, 'static>> {
    let row = ReportRow {
        suite: String::new(),
        model: String::new(),
        metric: String::new(),
        value: 0.5,
        stderr: 0.05,
        low: 0.4,
        high: 0.6,
        n: 100,
        method: String::new(),
        chance: None,
        higher_is_better: true,
    };
    let mut jobs: BTreeMap<String, Rows<'_>> =
        names.jobs.keys().map(|job| (job.clone(), BTreeMap::new())).collect();
    for path in names.numbers.keys() {
        let segments: Vec<&str> = path.split('.').collect();
        let [job, suite, model, metric] = segments[..] else { continue };
        let rows = jobs.entry(job.to_owned()).or_default();
        rows.insert([suite.to_owned(), model.to_owned(), metric.to_owned()], Some(&row));
    }
    Tables { previous: jobs.clone(), reports: jobs }.context().ok()
}

fn job_value(rows: &Rows<'_>) -> Value {
    // Suite, then model, then metric: each level is a map of the one below.
    let mut suites: BTreeMap<&str, BTreeMap<&str, Entries>> = BTreeMap::new();
    for ([suite, model, metric], row) in rows {
        let Some(row) = row else { continue };
        let models = suites.entry(suite).or_default();
        models.entry(model).or_default().push((metric.clone(), row_value(row)));
    }
    let models = |models: BTreeMap<&str, Entries>| {
        map(models.into_iter().map(|(model, metrics)| (model.to_owned(), map(metrics))).collect())
    };
    map(suites.into_iter().map(|(suite, of)| (suite.to_owned(), models(of))).collect())
}

fn row_value(row: &ReportRow) -> Value {
    let values = [
        Value::Float(row.value),
        Value::Float(row.low),
        Value::Float(row.high),
        Value::Float(row.stderr),
        Value::Int(i64::try_from(row.n).unwrap_or(i64::MAX)),
        Value::Bool(row.higher_is_better),
    ];
    map(FIELDS.iter().map(|field| (*field).to_owned()).zip(values).collect())
}

fn map(entries: Entries) -> Value {
    let entries: HashMap<Key, Value> =
        entries.into_iter().map(|(key, value)| (Key::String(Arc::new(key)), value)).collect();
    Value::Map(Map { map: Arc::new(entries) })
}

/// The number behind an argument.
fn measured(function: &str, value: &Value) -> Result<Measured, ExecutionError> {
    let wrong = || {
        ExecutionError::function_error(function, "an argument is not a number of a report with its interval")
    };
    let Value::Map(map) = value else { return Err(wrong()) };
    let field = |name: &str| map.map.get(&Key::String(Arc::new(name.to_owned())));
    let float = |name: &str| match field(name) {
        Some(Value::Float(value)) => Ok(*value),
        _ => Err(wrong()),
    };
    let Some(Value::Bool(higher_is_better)) = field("higher_is_better") else { return Err(wrong()) };
    Ok(Measured {
        value: float("value")?,
        low: float("low")?,
        high: float("high")?,
        higher_is_better: *higher_is_better,
    })
}

fn number(function: &str, value: &Value) -> Result<f64, ExecutionError> {
    match value {
        Value::Float(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        Value::UInt(value) => Ok(*value as f64),
        _ => Err(ExecutionError::function_error(function, "the margin is not a number")),
    }
}
