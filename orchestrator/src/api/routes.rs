//! The JSON routes.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answers::{
    Always, CommandEnd, ControlBody, Curves, KeyedFiring, Refusal, RunBrief, RunList, ScheduleDone,
    ScheduleList, ScheduleState, ScheduleVerb, Started,
};
use super::{ApiError, ApiState};
use crate::daemon::{Ticket, WatchedSchedule, find_schedule};
use crate::run::ControlVerb;
use crate::schedule::{ScheduleBook, clock_warnings, upcoming};
use crate::state::{RunView, StepView, holder, now_millis};

type Answer<T> = Result<Json<T>, ApiError>;

/// Every run, newest first, without its steps.
#[utoipa::path(
    get,
    path = "/runs",
    tag = "runs",
    responses(
        (status = 200, body = RunList, description = "The runs"),
        Always,
    )
)]
pub(super) async fn runs(State(state): State<ApiState>) -> Answer<RunList> {
    let list = move |state: &ApiState| {
        let projection = state.projection()?;
        let runs = projection.runs().iter().rev().map(|run| RunBrief::of(&RunView::of(run))).collect();
        Ok(RunList { runs, holder: holder(state.dir()) })
    };
    state.reading(list).await.map(Json)
}

/// A run with its steps.
#[utoipa::path(
    get,
    path = "/runs/{run}",
    tag = "runs",
    params(("run" = String, Path, description = "The run's id, or `latest`")),
    responses(
        (status = 200, body = RunView, description = "The run"),
        (status = 404, body = Refusal, description = "There is no such run"),
        Always,
    )
)]
pub(super) async fn run(State(state): State<ApiState>, Path(run): Path<String>) -> Answer<RunView> {
    state.reading(move |state| state.run(&run)).await.map(Json)
}

/// The query of a step.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StepQuery {
    /// The step, as in plans: `base`, `law/sweep[transformer,2]`.
    name: String,
}

/// One step, with attempts, curves and samples.
#[utoipa::path(
    get,
    path = "/runs/{run}/step",
    tag = "runs",
    params(("run" = String, Path, description = "The run's id, or `latest`"), StepQuery),
    responses(
        (status = 200, body = StepView, description = "The step"),
        (status = 404, body = Refusal, description = "There is no such run or step"),
        Always,
    )
)]
pub(super) async fn step(
    State(state): State<ApiState>,
    Path(run): Path<String>,
    Query(query): Query<StepQuery>,
) -> Answer<StepView> {
    let mut run = state.reading(move |state| state.run(&run)).await?;
    match run.steps.iter().position(|step| step.name == query.name) {
        Some(at) => Ok(Json(run.steps.swap_remove(at))),
        None => Err(ApiError::Missing { what: "step", name: query.name }),
    }
}

/// Curves by step and metric.
#[utoipa::path(
    get,
    path = "/runs/{run}/metrics",
    tag = "runs",
    params(("run" = String, Path, description = "The run's id, or `latest`")),
    responses(
        (status = 200, body = Curves, description = "The curves"),
        (status = 404, body = Refusal, description = "There is no such run"),
        Always,
    )
)]
pub(super) async fn metrics(State(state): State<ApiState>, Path(run): Path<String>) -> Answer<Curves> {
    let run = state.reading(move |state| state.run(&run)).await?;
    let mut steps = BTreeMap::new();
    for step in run.steps.iter().filter(|step| !step.metrics.is_empty()) {
        let curves = step.metrics.iter().map(|(name, series)| (name.clone(), series.all())).collect();
        steps.insert(step.name.clone(), curves);
    }
    Ok(Json(Curves(steps)))
}

/// `cancel`, `pause`, `resume` or `retry` of a run.
#[utoipa::path(
    post,
    path = "/runs/{run}/{verb}",
    tag = "runs",
    params(("run" = String, Path, description = "The run's id, or `latest`"), ("verb" = ControlVerb, Path, description = "What to do")),
    request_body(content = Option<ControlBody>, content_type = "application/json"),
    responses(
        (status = 202, body = Started, description = "Its process was started"),
        (status = 404, body = Refusal, description = "There is no such run, verb or job"),
        (status = 422, body = Refusal, description = "The body is not what it should be"),
        Always,
    )
)]
pub(super) async fn control(
    State(state): State<ApiState>,
    Path((run, verb)): Path<(String, String)>,
    body: axum::body::Bytes,
) -> Result<(StatusCode, Json<Started>), ApiError> {
    let verb: ControlVerb = verb_of(&verb)?;
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
    let mut arguments = vec![verb.as_str().to_owned(), format!("--run={}", view.id)];
    arguments.extend(body.job.map(|job| vec!["--".to_owned(), job]).into_iter().flatten());
    launch(&state, arguments)
}

fn launch(state: &ApiState, arguments: Vec<String>) -> Result<(StatusCode, Json<Started>), ApiError> {
    let ticket = state.commands().launch(arguments)?;
    Ok((StatusCode::ACCEPTED, Json(Started { command: ticket })))
}

/// How a command that was started ended.
#[utoipa::path(
    get,
    path = "/commands/{ticket}",
    tag = "commands",
    params(("ticket" = u64, Path, description = "What the answer to the request that started it named")),
    responses(
        (status = 200, body = CommandEnd, description = "Whether it ended, and how"),
        (status = 400, body = Refusal, description = "The ticket is no number"),
        Always,
    )
)]
pub(super) async fn command(State(state): State<ApiState>, Path(ticket): Path<Ticket>) -> Answer<CommandEnd> {
    let code = state.commands().exit_code(ticket)?;
    Ok(Json(CommandEnd { command: ticket, ended: code.is_some(), exit_code: code }))
}

/// Schedules with their next slots and their firings.
#[utoipa::path(
    get,
    path = "/schedules",
    tag = "schedules",
    responses(
        (status = 200, body = ScheduleList, description = "The schedules"),
        Always,
    )
)]
pub(super) async fn schedules(State(state): State<ApiState>) -> Answer<ScheduleList> {
    let watched = state.commands().schedules();
    let list = move |state: &ApiState| {
        let book = ScheduleBook::of(&state.projection()?);
        let schedules = watched.iter().map(|one| schedule_state(one, &book, now_millis())).collect();
        Ok(ScheduleList { schedules })
    };
    state.reading(list).await.map(Json)
}

/// A schedule: its next five firings, what the clock does to it within a year, its firings so far.
pub(crate) fn schedule_state(
    watched: &WatchedSchedule,
    book: &ScheduleBook,
    now_millis: i64,
) -> ScheduleState {
    let paused = book.schedules.get(&watched.id).is_some_and(|record| record.paused);
    let firings = book.firings_of(&watched.id);
    ScheduleState {
        id: watched.id.clone(),
        spec: watched.spec.clone(),
        cron: watched.schedule.cron.clone(),
        timezone: watched.schedule.timezone.clone(),
        jobs: watched.schedule.jobs.clone(),
        overlap: watched.schedule.overlap,
        catch_up: watched.schedule.catch_up,
        jitter_secs: watched.schedule.jitter_secs,
        paused,
        upcoming: if paused { Vec::new() } else { upcoming(watched.named(), book, now_millis, 5) },
        warnings: clock_warnings(&watched.schedule, now_millis),
        firings: firings
            .map(|(key, firing)| KeyedFiring { key: key.clone(), firing: firing.clone() })
            .collect(),
    }
}

/// `fire`, `pause` or `resume` of a schedule.
#[utoipa::path(
    post,
    path = "/schedules/{name}/{verb}",
    tag = "schedules",
    params(("name" = String, Path, description = "The schedule's name, or `spec.name`"), ("verb" = ScheduleVerb, Path, description = "What to do")),
    responses(
        (status = 202, body = ScheduleDone, description = "It is done, or will be when its turn comes"),
        (status = 404, body = Refusal, description = "There is no such schedule or verb"),
        (status = 409, body = Refusal, description = "Another process works on the state folder"),
        Always,
    )
)]
pub(super) async fn schedule(
    State(state): State<ApiState>,
    Path((name, verb)): Path<(String, String)>,
) -> Result<(StatusCode, Json<ScheduleDone>), ApiError> {
    let verb: ScheduleVerb = verb_of(&verb)?;
    let mut commands = state.commands();
    let id = find_schedule(&commands.schedules(), &name)?.id.clone();
    let done = match verb {
        ScheduleVerb::Fire => commands.fire(&id, now_millis())?,
        ScheduleVerb::Pause => commands.set_paused(&id, true, now_millis())?,
        ScheduleVerb::Resume => commands.set_paused(&id, false, now_millis())?,
    };
    if done {
        Ok((StatusCode::ACCEPTED, Json(ScheduleDone { schedule: id, done: verb })))
    } else {
        Err(ApiError::Busy)
    }
}

/// A verb of a route by its word.
fn verb_of<T: serde::de::DeserializeOwned>(word: &str) -> Result<T, ApiError> {
    let value = serde_json::Value::String(word.to_owned());
    serde_json::from_value(value).map_err(|_| ApiError::Missing { what: "verb", name: word.to_owned() })
}
