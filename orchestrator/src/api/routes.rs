//! The JSON routes.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiError, ApiState};
use crate::daemon::{Ticket, WatchedSchedule, find_schedule};
use crate::schedule::{ScheduleBook, clock_warnings, upcoming};
use crate::state::{RunView, holder, now_millis};

type Answer = Result<Json<Value>, ApiError>;

/// Every run, newest first, without its steps.
pub(super) async fn runs(State(state): State<ApiState>) -> Answer {
    let list = move |state: &ApiState| {
        let projection = state.projection()?;
        let runs: Vec<Value> = projection.runs().iter().rev().map(|run| brief(&RunView::of(run))).collect();
        Ok(json!({ "runs": runs, "holder": holder(state.dir()) }))
    };
    state.reading(list).await.map(Json)
}

/// A run in a few fields.
pub(super) fn brief(run: &RunView) -> Value {
    json!({
        "id": run.id, "spec_name": run.spec_name, "state": run.state, "created_millis": run.created_millis,
        "ended_millis": run.ended_millis, "steps": run.steps.len(),
        "done": run.steps.iter().filter(|step| step.state.is_done()).count(),
    })
}

/// A run with its steps.
pub(super) async fn run(State(state): State<ApiState>, Path(run): Path<String>) -> Answer {
    state.reading(move |state| state.run(&run)).await.map(|run| Json(json!(run)))
}

/// The query of a step.
#[derive(Debug, Deserialize)]
pub(super) struct StepQuery {
    name: String,
}

/// One step.
pub(super) async fn step(
    State(state): State<ApiState>,
    Path(run): Path<String>,
    Query(query): Query<StepQuery>,
) -> Answer {
    let run = state.reading(move |state| state.run(&run)).await?;
    match run.step(&query.name) {
        Some(step) => Ok(Json(json!(step))),
        None => Err(ApiError::Missing { what: "step", name: query.name }),
    }
}

/// Curves by step and metric.
pub(super) async fn metrics(State(state): State<ApiState>, Path(run): Path<String>) -> Answer {
    let run = state.reading(move |state| state.run(&run)).await?;
    let mut steps = serde_json::Map::new();
    for step in run.steps.iter().filter(|step| !step.metrics.is_empty()) {
        let curves: serde_json::Map<String, Value> =
            step.metrics.iter().map(|(name, series)| (name.clone(), json!(series.all()))).collect();
        steps.insert(step.name.clone(), Value::Object(curves));
    }
    Ok(Json(Value::Object(steps)))
}

/// What of a run a verb is about.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ControlBody {
    job: Option<String>,
}

/// `cancel`, `pause`, `resume` or `retry` of a run.
pub(super) async fn control(
    State(state): State<ApiState>,
    Path((run, verb)): Path<(String, String)>,
    body: axum::body::Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    if !["cancel", "pause", "resume", "retry"].contains(&verb.as_str()) {
        return Err(ApiError::Missing { what: "verb", name: verb });
    }
    let body: ControlBody = if body.is_empty() {
        ControlBody::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| ApiError::Invalid(error.to_string()))?
    };
    let view = state.reading(move |state| state.run(&run)).await?;
    if let Some(job) = &body.job
        && !view.steps.iter().any(|step| step.name == *job || step.job == *job)
    {
        return Err(ApiError::Missing { what: "job", name: job.clone() });
    }
    let mut arguments = vec![verb, format!("--run={}", view.id)];
    arguments.extend(body.job.map(|job| vec!["--".to_owned(), job]).into_iter().flatten());
    launch(&state, arguments)
}

fn launch(state: &ApiState, arguments: Vec<String>) -> Result<(StatusCode, Json<Value>), ApiError> {
    let ticket = state.commands().launch(arguments)?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "command": ticket }))))
}

/// How a command that was started ended.
pub(super) async fn command(State(state): State<ApiState>, Path(ticket): Path<Ticket>) -> Answer {
    let code = state.commands().exit_code(ticket)?;
    Ok(Json(json!({ "command": ticket, "ended": code.is_some(), "exit_code": code })))
}

/// Schedules with their next slot and their firings.
pub(super) async fn schedules(State(state): State<ApiState>) -> Answer {
    let watched = state.commands().schedules();
    let list = move |state: &ApiState| {
        let book = ScheduleBook::of(&state.projection()?);
        Ok(
            json!({ "schedules": watched.iter().map(|one| schedule_json(one, &book, now_millis())).collect::<Vec<_>>() }),
        )
    };
    state.reading(list).await.map(Json)
}

/// A schedule as JSON: its next five firings, what the clock does to it within a year, its firings so far.
pub(crate) fn schedule_json(watched: &WatchedSchedule, book: &ScheduleBook, now_millis: i64) -> Value {
    let paused = book.schedules.get(&watched.id).is_some_and(|record| record.paused);
    let firings: Vec<Value> =
        book.firings_of(&watched.id).map(|(key, firing)| json!({ "key": key, "firing": firing })).collect();
    json!({
        "id": watched.id, "spec": watched.spec, "cron": watched.schedule.cron,
        "timezone": watched.schedule.timezone, "jobs": watched.schedule.jobs,
        "overlap": watched.schedule.overlap, "catch_up": watched.schedule.catch_up,
        "jitter_secs": watched.schedule.jitter_secs, "paused": paused,
        "upcoming": if paused { Vec::new() } else { upcoming(watched.named(), book, now_millis, 5) },
        "warnings": clock_warnings(&watched.schedule, now_millis), "firings": firings,
    })
}

/// `fire`, `pause` or `resume` of a schedule.
pub(super) async fn schedule(
    State(state): State<ApiState>,
    Path((name, verb)): Path<(String, String)>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mut commands = state.commands();
    let id = find_schedule(&commands.schedules(), &name)?.id.clone();
    let done = match verb.as_str() {
        "fire" => commands.fire(&id, now_millis())?,
        "pause" => commands.set_paused(&id, true, now_millis())?,
        "resume" => commands.set_paused(&id, false, now_millis())?,
        _ => return Err(ApiError::Missing { what: "verb", name: verb }),
    };
    if done {
        Ok((StatusCode::ACCEPTED, Json(json!({ "schedule": id, "done": verb }))))
    } else {
        Err(ApiError::Busy)
    }
}
