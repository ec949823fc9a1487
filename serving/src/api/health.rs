//! `GET /health`, `/ready` and `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::ApiError;
use crate::app::App;
use crate::phase::Phase;

/// The process lives.
pub(crate) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// The server takes requests and its engine makes progress; a busy engine is ready, a stuck or stopping one is not.
pub(crate) async fn ready(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    if app.phases.now() >= Phase::Notice {
        return Err(ApiError::unavailable("the server is stopping"));
    }
    if !app.engine.makes_progress() {
        return Err(ApiError::unavailable("the engine makes no progress"));
    }
    Ok(Json(json!({"status": "ready"})))
}

/// Prometheus' text format.
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let page = app.metrics.render(&app.model.name);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}
