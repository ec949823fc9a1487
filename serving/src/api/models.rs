//! `GET /v1/models` and `GET /v1/models/{id}`: what is served, and from which lineage.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::ApiError;
use super::document::{ErrorAnswer, Model, ModelList};
use crate::app::App;

/// Lists the one model.
#[utoipa::path(
    get,
    path = "/v1/models",
    responses(
        (status = 200, body = ModelList, description = "The models"),
        (status = 401, body = ErrorAnswer, description = "No key, or none that is known"),
        (status = 403, body = ErrorAnswer, description = "A host name that this server does not go by"),
    )
)]
pub(crate) async fn list_models(State(app): State<App>) -> Json<Value> {
    Json(json!({"object": "list", "data": [model_object(&app)]}))
}

/// Shows the model by name.
#[utoipa::path(
    get,
    path = "/v1/models/{id}",
    params(("id" = String, Path, description = "The model's name")),
    responses(
        (status = 200, body = Model, description = "The model"),
        (status = 400, body = ErrorAnswer, description = "The name is no text"),
        (status = 401, body = ErrorAnswer, description = "No key, or none that is known"),
        (status = 403, body = ErrorAnswer, description = "A host name that this server does not go by"),
        (status = 404, body = ErrorAnswer, description = "No such model"),
    )
)]
pub(crate) async fn get_model(
    State(app): State<App>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::invalid("the model's name in the path is not UTF-8"))?;
    if id == app.model.name {
        Ok(Json(model_object(&app)))
    } else {
        Err(ApiError::model_not_found(&id, &app.model.name))
    }
}

fn model_object(app: &App) -> Value {
    let model = &app.model;
    let inputs: serde_json::Map<String, Value> =
        model.lineage.iter().map(|(role, fingerprint)| (role.clone(), json!(fingerprint))).collect();
    json!({
        "id": model.name,
        "object": "model",
        "created": model.created_secs,
        "owned_by": "cupola",
        "max_model_len": model.context,
        "parameters": model.total_params,
        "fingerprint": model.fingerprint,
        "lineage": inputs,
        "sampling_defaults": {
            "temperature": model.defaults.temperature,
            "top_p": model.defaults.top_p,
            "top_k": model.defaults.top_k,
            "repetition_penalty": model.defaults.repetition_penalty,
        },
    })
}
