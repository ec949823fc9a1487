//! Counters of runs, steps and schedules in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::{ApiError, ApiState};
use crate::schedule::ScheduleBook;
use crate::state::{Projection, holder};

/// The text of `/metrics`.
pub(super) async fn metrics(State(state): State<ApiState>) -> Result<impl IntoResponse, ApiError> {
    let text = state.reading(|state| Ok(render(&state.projection()?, holder(state.dir()).is_some()))).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}

fn render(projection: &Projection, driven: bool) -> String {
    let mut runs: BTreeMap<&str, u64> = BTreeMap::new();
    for run in projection.runs() {
        *runs.entry(run.state.as_str()).or_default() += 1;
    }
    let mut steps: BTreeMap<&str, u64> = BTreeMap::new();
    for step in projection.latest_run(None).into_iter().flat_map(|run| &run.steps) {
        *steps.entry(step.state.as_str()).or_default() += 1;
    }
    let mut firings: BTreeMap<&str, u64> = BTreeMap::new();
    let book = ScheduleBook::of(projection);
    for firing in book.firings.values() {
        *firings.entry(firing.state.as_str()).or_default() += 1;
    }
    let bytes: u64 = projection.artifacts().values().map(|artifact| artifact.size_bytes).sum();
    let mut text = String::new();
    family(&mut text, "cupola_runs", "Runs by state.", &runs);
    family(&mut text, "cupola_latest_run_steps", "Steps of the newest run by state.", &steps);
    family(&mut text, "cupola_schedule_firings", "Firings of schedules by state.", &firings);
    for (name, help, value) in [
        ("cupola_artifacts", "Artifacts in the store.", projection.artifacts().len() as u64),
        ("cupola_store_bytes", "Bytes of artifacts in the store.", bytes),
        ("cupola_busy", "Whether a process works on the state folder.", u64::from(driven)),
    ] {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    }
    text
}

fn family(text: &mut String, name: &str, help: &str, values: &BTreeMap<&str, u64>) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    for (state, value) in values {
        let _ = writeln!(text, "{name}{{state=\"{state}\"}} {value}");
    }
}
