//! What sinks are given.

use std::time::Duration;

use cupola_specs::job::StepParams;

use super::TelemetryError;

/// Which attempt speaks.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The run of the orchestrator.
    pub(crate) run: String,
    /// The step.
    pub(crate) step: String,
    /// The attempt token.
    pub(crate) token: String,
    /// The step's fingerprint.
    pub(crate) fingerprint: String,
    /// The step's parameters as flat pairs of path and value.
    pub(crate) params: Vec<(String, String)>,
}

impl Origin {
    /// The name that people see: run, step and, where a step trains several times, which of them.
    pub(super) fn title(&self, series: &str) -> String {
        let parts = [self.run.as_str(), self.step.as_str(), series];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }
}

/// A step's parameters as flat pairs: `optimizer.lr` and its value, lists as JSON.
pub(crate) fn flat_params(params: &StepParams) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if let Ok(value) = serde_json::to_value(params) {
        flatten("", &value, &mut found);
    }
    found
}

fn flatten(path: &str, value: &serde_json::Value, found: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, found);
            }
        }
        serde_json::Value::String(text) => found.push((path.to_owned(), text.clone())),
        other => found.push((path.to_owned(), other.to_string())),
    }
}

/// A number or a text, with the optimiser step that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point<'a> {
    /// Milliseconds since the Unix epoch.
    pub(super) at_millis: i64,
    /// The optimiser step, from 0. What is measured after `n` steps belongs to step `n - 1`, the last one that is in it: a run that goes on
    /// at step `n` says nothing of it again.
    pub(super) step: u64,
    /// What it is.
    pub(super) value: PointValue<'a>,
}

/// What a point is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PointValue<'a> {
    /// A number of a curve.
    Metric(&'a str, f64),
    /// A text that the model wrote, and what it was given.
    Sample(&'a str, &'a str),
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The step is done.
    Finished,
    /// The step failed.
    Failed,
    /// It was asked to stop.
    Stopped,
    /// It goes back to an earlier step and takes another course from there.
    WentBack,
}

/// Takes what an attempt says.
pub(super) trait Sink: Send {
    /// Takes a point.
    fn take(&mut self, point: &Point<'_>) -> Result<(), TelemetryError>;

    /// Takes the end. What is left to send may still take `patience`; nobody waits for it here.
    fn end(&mut self, _end: End, _patience: Duration) {}

    /// Waits until what is left is sent, or its time is over.
    fn wait(&mut self) {}

    /// What a user should know since the last call: code and message.
    fn warnings(&mut self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_leaves_out_what_is_empty() {
        let origin = Origin {
            run: "small-1".into(),
            step: "base".into(),
            token: "1.1".into(),
            fingerprint: String::new(),
            params: Vec::new(),
        };
        assert_eq!(origin.title(""), "small-1/base");
        assert_eq!(origin.title("run-2"), "small-1/base/run-2");
    }

    #[test]
    fn parameters_are_flat_and_lists_are_json() {
        let mut found = Vec::new();
        flatten(
            "",
            &serde_json::json!({"kind": "sft", "optimizer": {"lr": 0.5, "betas": [0.9, 0.95]}}),
            &mut found,
        );
        let expected = [("kind", "sft"), ("optimizer.lr", "0.5"), ("optimizer.betas", "[0.9,0.95]")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
