//! `GET /health`, `/ready` and `/metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::ApiError;
use super::document::{ErrorAnswer, LifeSign, Readiness};
use crate::app::House;
use crate::keys::Asker;
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

/// The server takes requests and its engines make progress; a busy engine is ready, a stuck or stopping one is not. Who sends a key, where there
/// are any, is told the models too, and what keeps a promoted one from being served.
#[utoipa::path(
    get,
    path = "/ready",
    security(()),
    responses(
        (status = 200, body = Readiness, description = "It is"),
        (status = 403, body = ErrorAnswer, description = "A host name that this server does not go by"),
        (status = 503, body = ErrorAnswer, description = "It is stuck or stopping"),
    )
)]
pub(crate) async fn ready(
    State(house): State<House>,
    Extension(asker): Extension<Arc<Asker>>,
) -> Result<Json<Value>, ApiError> {
    if house.phases.now() >= Phase::Notice {
        return Err(ApiError::unavailable("the server is stopping"));
    }
    let models = house.roster.all();
    if let Some(stuck) = models.iter().find(|loaded| !loaded.engine.makes_progress()) {
        tracing::warn!(model = stuck.model.name, "the engine makes no progress");
        return Err(ApiError::unavailable("the engine makes no progress"));
    }
    if house.moderation.as_ref().is_some_and(|rules| !rules.now().makes_progress()) {
        tracing::warn!("a classifier's engine makes no progress");
        return Err(ApiError::unavailable("a classifier's engine makes no progress"));
    }
    if !house.keys.now().trusts(&asker) {
        return Ok(Json(json!({"status": "ready"})));
    }
    let models: Vec<Value> = models
        .iter()
        .map(|loaded| json!({"id": loaded.model.name, "fingerprint": loaded.model.fingerprint}))
        .collect();
    // A promoted model that can't be loaded is no reason to send requests elsewhere: the one before it answers.
    Ok(Json(json!({"status": "ready", "models": models, "trouble": house.roster.trouble()})))
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
pub(crate) async fn metrics(State(house): State<House>) -> Response {
    let page = house.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}
