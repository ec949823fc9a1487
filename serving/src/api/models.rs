//! `GET /v1/models` and `GET /v1/models/{id}`: what is served, and from which lineage.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use cupola_runtime::seal::Tolerance;
use serde_json::{Value, json};

use super::ApiError;
use super::document::{ErrorAnswer, Model, ModelList};
use crate::adapter::ServedAdapter;
use crate::app::House;
use crate::model_folder::ServedModel;

/// Lists the models.
#[utoipa::path(
    get,
    path = "/v1/models",
    responses(
        (status = 200, body = ModelList, description = "The models"),
        (status = 401, body = ErrorAnswer, description = "No key, or none that is known"),
        (status = 403, body = ErrorAnswer, description = "A host name that this server does not go by"),
    )
)]
pub(crate) async fn list_models(State(house): State<House>) -> Json<Value> {
    let mut models = Vec::new();
    for loaded in house.roster.all().iter() {
        models.push(model_object(&loaded.model, None));
        models.extend(loaded.adapters.iter().map(|adapter| model_object(&loaded.model, Some(adapter))));
    }
    Json(json!({"object": "list", "data": models}))
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
    State(house): State<House>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::invalid("the model's name in the path is not UTF-8"))?;
    match house.roster.find(&id) {
        Some((loaded, adapter)) => Ok(Json(model_object(&loaded.model, adapter.as_deref()))),
        None => Err(ApiError::model_not_found(&id, &house.names())),
    }
}

/// A model, or an adapter beside it.
fn model_object(model: &ServedModel, adapter: Option<&ServedAdapter>) -> Value {
    let parity = adapter.map_or(model.seal, |adapter| adapter.seal).map(|report| {
        json!({"tokens": report.tokens, "mean_difference": report.mean, "largest_difference": report.largest})
    });
    let of_model = model.lineage.iter().map(|(role, fingerprint)| (role.clone(), json!(fingerprint)));
    let inputs: serde_json::Map<String, Value> = match adapter {
        None => of_model.collect(),
        Some(_) => [("model".to_owned(), json!(model.fingerprint))].into_iter().collect(),
    };
    json!({
        "id": adapter.map_or(&model.name, |adapter| &adapter.name),
        "object": "model",
        "created": model.created_secs,
        "owned_by": "cupola",
        "parent": adapter.map(|_| &model.name),
        "max_model_len": model.context,
        "parameters": model.total_params + adapter.map_or(0, |adapter| adapter.num_params),
        "fingerprint": adapter.map_or(&model.fingerprint, |adapter| &adapter.hash),
        "lineage": inputs,
        "tokenizer_hash": model.tokenizer_hash,
        "chat_template_hash": model.template_hash,
        "weight_format": Tolerance::of(model.format).format,
        "parity": parity,
        "sampling_defaults": {
            "temperature": model.defaults.temperature,
            "top_p": model.defaults.top_p,
            "top_k": model.defaults.top_k,
            "repetition_penalty": model.defaults.repetition_penalty,
        },
    })
}
