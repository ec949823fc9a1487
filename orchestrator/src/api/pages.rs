//! The dashboard: runs, schedules, one run with its steps and its plan, the report card.

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{Html, IntoResponse};
use minijinja::{AutoEscape, Environment, context};
use serde::Serialize;

use super::{ApiError, ApiState};
use crate::daemon::WatchedSchedule;
use crate::report::format::{duration, time};
use crate::report::{STYLE, step_facts, steps_svg};
use crate::schedule::{ScheduleBook, upcoming};
use crate::state::{Projection, RunView, StepView, holder, now_millis};
use crate::watch::running_line;

const PAGE: &str = include_str!("page.html.jinja");

#[derive(Serialize)]
struct RunRow {
    id: String,
    spec: String,
    state: &'static str,
    done: String,
    begun: String,
    took: String,
    has_report: bool,
}

#[derive(Serialize)]
struct ScheduleRow {
    id: String,
    when: String,
    jobs: String,
    next: String,
    last: String,
}

#[derive(Serialize)]
struct StepRow {
    name: String,
    state: &'static str,
    took: String,
    now: String,
}

/// The list of runs and schedules.
pub(super) async fn index(State(state): State<ApiState>) -> Result<Html<String>, ApiError> {
    let watched = state.commands().schedules();
    let page = move |state: &ApiState| {
        let projection = state.projection()?;
        let book = ScheduleBook::of(&projection);
        let runs: Vec<RunRow> =
            projection.runs().iter().rev().map(|run| run_row(&RunView::of(run), &projection)).collect();
        let schedules: Vec<ScheduleRow> = watched.iter().map(|one| schedule_row(one, &book)).collect();
        let busy = holder(state.dir());
        render(
            &context! { style => STYLE, title => "Cupola", runs, schedules, busy, moving => busy.is_some() },
        )
    };
    state.reading(page).await.map(Html)
}

/// One run.
pub(super) async fn run(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Html<String>, ApiError> {
    let page = move |state: &ApiState| {
        let run = state.run(&id)?;
        let now = now_millis();
        let facts: Vec<_> = run.steps.iter().map(|step| step_facts(step, now)).collect();
        let steps: Vec<StepRow> = run.steps.iter().map(|step| step_row(step, now)).collect();
        let row = run_row(&run, &state.projection()?);
        let moving = !run.state.is_final() && holder(state.dir()).is_some();
        render(
            &context! { style => STYLE, title => run.id, run => row, steps, plan => steps_svg(&facts), moving },
        )
    };
    state.reading(page).await.map(Html)
}

/// The report card of a run.
pub(super) async fn report(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let read = move |state: &ApiState| {
        let run = state.run(&id)?;
        let path = state.dir().run(&run.id).join("report.html");
        std::fs::read(path).map_err(|_| ApiError::Missing { what: "report of run", name: run.id })
    };
    let page = state.reading(read).await?;
    Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page))
}

fn render(context: &minijinja::Value) -> Result<String, ApiError> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.add_template("page", PAGE)?;
    Ok(environment.get_template("page")?.render(context)?)
}

fn run_row(run: &RunView, projection: &Projection) -> RunRow {
    let done = run.steps.iter().filter(|step| step.state.is_done()).count();
    let ended = run.ended_millis.unwrap_or_else(now_millis);
    RunRow {
        id: run.id.clone(),
        spec: run.spec_name.clone(),
        state: run.state.as_str(),
        done: format!("{done} of {}", run.steps.len()),
        begun: time(run.created_millis),
        took: duration((ended - run.created_millis) as f64 / 1000.0),
        has_report: projection.dir().run(&run.id).join("report.html").is_file(),
    }
}

fn schedule_row(watched: &WatchedSchedule, book: &ScheduleBook) -> ScheduleRow {
    let paused = book.schedules.get(&watched.id).is_some_and(|record| record.paused);
    let last = book.firings_of(&watched.id).max_by_key(|(_, firing)| firing.slot_millis);
    let next = upcoming(watched.named(), book, now_millis(), 1).pop();
    let next = next.map_or("never".to_owned(), |next| next.starts);
    ScheduleRow {
        id: watched.id.clone(),
        when: format!("{} ({})", watched.schedule.cron, watched.schedule.timezone),
        jobs: watched.schedule.jobs.join(", "),
        next: if paused { "paused".to_owned() } else { next },
        last: last.map_or("never".to_owned(), |(_, firing)| {
            format!("{}: {}", time(firing.slot_millis), firing.state.as_str())
        }),
    }
}

fn step_row(step: &StepView, now: i64) -> StepRow {
    let error = step.error.as_ref().map(|error| format!("{}: {}", error.code, error.message));
    StepRow {
        name: step.name.clone(),
        state: step.state.as_str(),
        took: step.wall_millis(now).map_or("–".to_owned(), |wall| duration(wall as f64 / 1000.0)),
        now: match step.state {
            state if state.is_live() => running_line(step, now),
            crate::state::StepState::Succeeded => String::new(),
            _ => error.unwrap_or_else(|| step.reason.clone()),
        },
    }
}
