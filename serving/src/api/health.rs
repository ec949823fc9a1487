//! `GET /health`, `/ready` and `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::ApiError;
use super::document::{ErrorAnswer, LifeSign};
use crate::app::App;
use crate::phase::Phase;

/// The process lives.
#[utoipa::path(
    get,
    path = "/health",
    security(()),
    responses(
        (status = 200, body = LifeSign, description = "It does"),
        (status = 403, body = ErrorAnswer, description = "A host name that this server does not go by"),
    )
)]
pub(crate) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// The server takes requests and its engine makes progress; a busy engine is ready, a stuck or stopping one is not.
#[utoipa::path(
    get,
    path = "/ready",
    security(()),
    responses(
        (status = 200, body = LifeSign, description = "It is"),
        (status = 403, body = ErrorAnswer, description = "A host name that this server does not go by"),
        (status = 503, body = ErrorAnswer, description = "It is stuck or stopping"),
    )
)]
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
#[utoipa::path(
    get,
    path = "/metrics",
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "Counters and histograms"),
        (status = 401, body = ErrorAnswer, description = "No key, or none that is known"),
        (status = 403, body = ErrorAnswer, description = "A host name that this server does not go by"),
    )
)]
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let page = app.metrics.render(&app.model.name);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}
