//! MLflow's tracking server over its REST API (mlflow.org, "REST API", version 2.0): an experiment, a run with tags and parameters, numbers in
//! batches, and how it ended. A later attempt opens the same run again.

use std::path::Path;

use cupola_specs::contract::MlflowTarget;
use serde_json::{Value, json};

use super::TelemetryError;
use super::http::{Answer, Credentials, Server, secret};
use super::position::Position;
use super::queue::{Backend, Row};
use super::record::{End, Origin};

/// Where the API stands below the server's URL.
const API: &str = "/api/2.0/mlflow";
/// Most parameters of one request, by MLflow's limits.
const MOST_PARAMS: usize = 100;
/// Most numbers of one request.
const MOST_METRICS: usize = 1000;
/// Most characters of a parameter's value.
const MOST_VALUE: usize = 6000;
/// The tag by which a run is found again.
const KEY: &str = "cupola.key";

/// One run on a server.
pub(super) struct Mlflow {
    target: MlflowTarget,
    origin: Origin,
    series: String,
    server: Server,
    position: Position,
    /// What an attempt before this one has sent.
    known_through: Option<u64>,
}

impl Mlflow {
    /// A run that is opened when there is something to tell.
    pub(super) fn new(
        target: &MlflowTarget,
        origin: &Origin,
        series: &str,
        positions: &Path,
    ) -> Result<Self, TelemetryError> {
        let token = target.token.as_ref().map(secret).transpose()?;
        let credentials = match (&target.username, token) {
            (Some(user), token) => Credentials::Basic(user.clone(), token.unwrap_or_default()),
            (None, Some(token)) => Credentials::Bearer(token),
            (None, None) => Credentials::None,
        };
        let position = Position::open(positions, "mlflow", series)?;
        Ok(Self {
            server: Server::new(&target.url, credentials)?,
            target: target.clone(),
            origin: origin.clone(),
            series: series.to_owned(),
            known_through: position.sent_through,
            position,
        })
    }

    fn post(&self, call: &str, body: &Value) -> Result<Answer, TelemetryError> {
        self.server.post(&format!("{API}/{call}"), body)
    }

    /// The experiment's id; it is made where there is none.
    fn experiment(&self) -> Result<String, TelemetryError> {
        let name = self.target.experiment.as_str();
        let find =
            || self.server.get(&format!("{API}/experiments/get-by-name"), &[("experiment_name", name)]);
        let mut found = find()?;
        if found.status == 404 {
            let made = self.post("experiments/create", &json!({ "name": name }))?;
            if let Some(id) = made.body["experiment_id"].as_str() {
                return Ok(id.to_owned());
            }
            // Somebody else may have made it in the meantime.
            found = find()?;
            if found.status == 404 {
                return Err(made.refusal());
            }
        }
        text_at(&found.taken()?, "/experiment/experiment_id")
    }

    /// Finds the run that an attempt made and had no time to write down.
    fn lost_run(&self, experiment: &str) -> Result<Option<String>, TelemetryError> {
        let filter = format!("tags.`{KEY}` = '{}'", self.position.key);
        let body = json!({"experiment_ids": [experiment], "filter": filter, "max_results": 1});
        let found = self.post("runs/search", &body)?.taken()?;
        Ok(found.pointer("/runs/0/info/run_id").and_then(Value::as_str).map(str::to_owned))
    }

    fn make_run(&self, experiment: &str) -> Result<String, TelemetryError> {
        let tags = [
            (KEY, self.position.key.as_str()),
            ("cupola.run", &self.origin.run),
            ("cupola.step", &self.origin.step),
            ("cupola.fingerprint", &self.origin.fingerprint),
        ];
        let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        let body = json!({
            "experiment_id": experiment,
            "run_name": self.origin.title(&self.series),
            "start_time": super::now_millis(),
            "tags": tags,
        });
        let run = text_at(&self.post("runs/create", &body)?.taken()?, "/run/info/run_id")?;
        for params in self.origin.params.chunks(MOST_PARAMS) {
            let params: Vec<Value> = params
                .iter()
                .map(|(key, value)| {
                    let value: String = value.chars().take(MOST_VALUE).collect();
                    json!({"key": plain(key), "value": value})
                })
                .collect();
            self.post("runs/log-batch", &json!({"run_id": run, "params": params}))?.taken()?;
        }
        Ok(run)
    }

    fn run(&self) -> Result<&str, TelemetryError> {
        self.position.run.as_deref().ok_or_else(|| TelemetryError::Busy("its run is not open".to_owned()))
    }

    fn update(&self, run: &str, status: &str, ended: bool) -> Result<Answer, TelemetryError> {
        let mut body = json!({"run_id": run, "status": status});
        if ended {
            body["end_time"] = json!(super::now_millis());
        }
        self.post("runs/update", &body)
    }
}

impl Backend for Mlflow {
    fn begin(&mut self) -> Result<(), TelemetryError> {
        if let Some(run) = &self.position.run {
            let opened = self.update(run, "RUNNING", false)?;
            if opened.status != 404 {
                return opened.taken().map(|_| ());
            }
            // It was deleted there: all of it is told again.
            (self.position.run, self.known_through) = (None, None);
        }
        let experiment = self.experiment()?;
        let run = match self.lost_run(&experiment)? {
            Some(run) => run,
            None => self.make_run(&experiment)?,
        };
        self.position.run = Some(run);
        self.position.save()
    }

    fn send(&mut self, rows: &[Row]) -> Result<(), TelemetryError> {
        let fresh = rows.iter().filter(|row| self.known_through.is_none_or(|known| row.step > known));
        let metrics: Vec<Value> = fresh
            .flat_map(|row| row.metrics.iter().map(move |(name, value)| metric(row, name, *value)))
            .collect();
        for metrics in metrics.chunks(MOST_METRICS) {
            let run = self.run()?;
            self.post("runs/log-batch", &json!({"run_id": run, "metrics": metrics}))?.taken()?;
        }
        let newest = rows.iter().map(|row| row.step).max();
        self.position.sent_through = self.position.sent_through.max(newest);
        self.position.save()
    }

    fn end(&mut self, end: End) -> Result<(), TelemetryError> {
        let status = match end {
            End::Finished => "FINISHED",
            End::Failed => "FAILED",
            End::Stopped => "KILLED",
            End::WentBack => {
                // What comes next is another course of the same steps.
                self.position.sent_through = None;
                return self.position.save();
            }
        };
        self.update(self.run()?, status, true)?.taken().map(|_| ())
    }
}

/// A number as MLflow reads it: JSON has no NaN, so that is a text.
fn metric(row: &Row, name: &str, value: f64) -> Value {
    let value = match value {
        value if value.is_nan() => json!("NaN"),
        value if value.is_infinite() => json!(if value > 0.0 { "Infinity" } else { "-Infinity" }),
        value => json!(value),
    };
    json!({"key": plain(name), "value": value, "timestamp": row.at_millis, "step": row.step})
}

/// A name of the characters that MLflow takes.
fn plain(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || "_-. /".contains(c) { c } else { '_' })
        .take(250)
        .collect()
}

fn text_at(body: &Value, pointer: &str) -> Result<String, TelemetryError> {
    let text = body.pointer(pointer).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| TelemetryError::Refused(format!("its answer has no {pointer}")))
}
