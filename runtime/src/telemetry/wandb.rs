//! What W&B's open client sends: a GraphQL call that opens a run, then lines of its history as a stream of files.
//!
//! W&B documents its client, not these calls; they are the ones that version 0.31.0 of it was seen to make to a server of this machine
//! (`upsertBucket`, then `file_stream` with `wandb-history.jsonl` and `wandb-summary.json`). So this is for servers that take that client's calls,
//! and carries numbers, the parameters and the end; not samples, system metrics, artifacts or console output.

use std::collections::BTreeMap;
use std::path::Path;

use cupola_specs::contract::WandbTarget;
use serde_json::{Map, Value, json};

use super::TelemetryError;
use super::http::{Credentials, Server, secret};
use super::position::Position;
use super::queue::{Backend, Row};
use super::record::{End, Origin};

/// Opens a run: makes it where there is none of this name.
const UPSERT: &str = "mutation UpsertBucket($name: String, $project: String, $entity: String, $displayName: String, $config: JSONString) { \
    upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, displayName: $displayName, config: $config}) { \
    bucket { id name displayName historyLineCount project { name entity { name } } } } }";
/// The file that holds a run's history.
const HISTORY: &str = "wandb-history.jsonl";
/// The file that holds the newest value of each number.
const SUMMARY: &str = "wandb-summary.json";

/// One run on a server.
pub(super) struct Wandb {
    target: WandbTarget,
    origin: Origin,
    series: String,
    server: Server,
    position: Position,
    /// What an attempt before this one has sent.
    known_through: Option<u64>,
    /// The stream's path, once the run is open.
    stream: String,
    newest: BTreeMap<String, f64>,
}

impl Wandb {
    /// A run that is opened when there is something to tell.
    pub(super) fn new(
        target: &WandbTarget,
        origin: &Origin,
        series: &str,
        positions: &Path,
    ) -> Result<Self, TelemetryError> {
        let credentials = Credentials::Basic("api".to_owned(), secret(&target.api_key)?);
        let position = Position::open(positions, "wandb", series)?;
        Ok(Self {
            server: Server::new(&target.base_url, credentials)?,
            target: target.clone(),
            origin: origin.clone(),
            series: series.to_owned(),
            known_through: position.sent_through,
            position,
            stream: String::new(),
            newest: BTreeMap::new(),
        })
    }

    fn config(&self) -> String {
        let values = self.origin.params.iter().map(|(key, value)| {
            let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
            (key.clone(), json!({ "value": value }))
        });
        Value::Object(values.collect::<Map<_, _>>()).to_string()
    }
}

impl Backend for Wandb {
    fn begin(&mut self) -> Result<(), TelemetryError> {
        let variables = json!({
            "name": self.position.key,
            "project": self.target.project,
            "entity": self.target.entity,
            "displayName": self.origin.title(&self.series),
            "config": self.config(),
        });
        let answer =
            self.server.post("/graphql", &json!({"query": UPSERT, "variables": variables}))?.taken()?;
        let bucket = &answer["data"]["upsertBucket"]["bucket"];
        let entity = bucket["project"]["entity"]["name"].as_str().or(self.target.entity.as_deref());
        let (Some(name), Some(entity)) = (bucket["name"].as_str(), entity) else {
            let said = answer["errors"][0]["message"].as_str().unwrap_or("its answer names no run");
            return Err(TelemetryError::Refused(said.chars().take(200).collect()));
        };
        let project = bucket["project"]["name"].as_str().unwrap_or(&self.target.project);
        self.stream = format!("/files/{entity}/{project}/{name}/file_stream");
        // The server knows best how many lines it has.
        self.position.lines = bucket["historyLineCount"].as_u64().unwrap_or(self.position.lines);
        self.position.run = Some(name.to_owned());
        self.position.save()
    }

    fn send(&mut self, rows: &[Row]) -> Result<(), TelemetryError> {
        let fresh = rows.iter().filter(|row| self.known_through.is_none_or(|known| row.step > known));
        let mut lines = Vec::new();
        for row in fresh {
            self.newest.extend(row.metrics.iter().cloned());
            lines.push(line(row.metrics.iter().map(|(name, value)| (name, *value)), row));
        }
        if let Some(last) = rows.last().filter(|_| !lines.is_empty()) {
            let summary = line(self.newest.iter().map(|(name, value)| (name, *value)), last);
            let body = json!({"files": {
                HISTORY: {"offset": self.position.lines, "content": lines},
                SUMMARY: {"offset": 0, "content": [summary]},
            }});
            self.server.post(&self.stream, &body)?.taken()?;
        }
        self.position.lines += lines.len() as u64;
        self.position.sent_through = self.position.sent_through.max(rows.iter().map(|row| row.step).max());
        self.position.save()
    }

    fn end(&mut self, end: End) -> Result<(), TelemetryError> {
        if end == End::WentBack {
            // What comes next is another course of the same steps.
            self.position.sent_through = None;
            return self.position.save();
        }
        let exit_code = i32::from(end != End::Finished);
        self.server.post(&self.stream, &json!({"complete": true, "exitcode": exit_code}))?.taken().map(|_| ())
    }
}

/// Numbers by name, with step and time of a row, as the client writes them: JSON, but that what is no number stands there as such.
fn line<'a>(metrics: impl Iterator<Item = (&'a String, f64)>, row: &Row) -> String {
    let mut fields: Vec<String> = metrics
        .map(|(name, value)| {
            let value = match value {
                value if value.is_nan() => "NaN".to_owned(),
                value if value.is_infinite() => if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
                value => json!(value).to_string(),
            };
            format!("{}:{value}", json!(name))
        })
        .collect();
    fields.push(format!("\"_step\":{}", row.step));
    fields.push(format!("\"_timestamp\":{}", json!(row.at_millis as f64 / 1000.0)));
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_that_of_the_client() {
        let metrics = vec![("loss".to_owned(), 0.5), ("bad".to_owned(), f64::NAN)];
        let row = Row { at_millis: 1500, step: 1, metrics };
        let text = line(row.metrics.iter().map(|(name, value)| (name, *value)), &row);
        assert_eq!(text, r#"{"loss":0.5,"bad":NaN,"_step":1,"_timestamp":1.5}"#);
    }
}
