//! `POST /v1/embeddings`: texts as vectors of unit length, pooled from the last hidden states.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cupola_runtime::generate::{self, Request, Sampling};
use serde::Deserialize;
use serde_json::{Value, json};

use super::admission::{BodyResult, admit_prompts, read_fields};
use super::completions::Prompt;
use super::document::{EmbeddingList, EmbeddingRequest, Refused};
use super::rate_headers::write_rate_headers;
use super::{ApiError, Fields};
use crate::app::App;
use crate::engine_thread::Event;
use crate::keys::Asker;

/// Most texts of one request, as OpenAI's API has it.
const MAX_INPUTS: usize = 2048;

/// Makes vectors of texts.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    request_body = EmbeddingRequest,
    responses((status = 200, body = EmbeddingList, description = "A vector for each text"), Refused)
)]
pub(crate) async fn embeddings(
    State(app): State<App>,
    Extension(asker): Extension<Arc<Asker>>,
    headers: HeaderMap,
    body: BodyResult,
) -> Result<Response, ApiError> {
    let (app, fields) = read_fields(&app, &headers, body)?;
    let params = EmbeddingParams::take(fields, &app)?;
    let mut response = params.answer(&app, &asker).await.into_response();
    write_rate_headers(&app, &asker, response.headers_mut());
    Ok(response)
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    Base64,
}

/// How one vector is made of a text's hidden states.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pooling {
    #[default]
    Mean,
    Last,
}

impl From<Pooling> for generate::Pooling {
    fn from(pooling: Pooling) -> Self {
        match pooling {
            Pooling::Mean => Self::Mean,
            Pooling::Last => Self::Last,
        }
    }
}

impl Encoding {
    fn value(self, vector: &[f32]) -> Value {
        match self {
            Self::Float => json!(vector),
            Self::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            }
        }
    }
}

struct EmbeddingParams {
    inputs: Vec<Vec<u32>>,
    encoding: Encoding,
    pooling: Pooling,
}

impl EmbeddingParams {
    fn take(mut fields: Fields, app: &App) -> Result<Self, ApiError> {
        let model = &app.model;
        let wrong = |message: String| ApiError::parameter("input", message);
        let input: Prompt = fields.require("input").map_err(|_| {
            wrong("'input' must be a text, a list of texts, a list of token ids or a list of those".into())
        })?;
        if input.has_empty_text() {
            return Err(wrong("'input' holds an empty text".into()));
        }
        let inputs = input.encode(model);
        if inputs.is_empty() || inputs.len() > MAX_INPUTS {
            return Err(wrong(format!("'input' takes 1 to {MAX_INPUTS} texts")));
        }
        let vocab_size = model.tokenizer.vocab_size();
        if inputs.iter().any(|ids| ids.is_empty() || ids.iter().any(|&id| id as usize >= vocab_size)) {
            return Err(wrong(format!("an input of token ids needs ids from 0 to {}", vocab_size - 1)));
        }
        let longest = match app.limits.prompt_tokens {
            0 => model.context,
            limit => limit.min(model.context),
        };
        if let Some(ids) = inputs.iter().find(|ids| ids.len() > longest) {
            return Err(wrong(format!("an input has {} tokens; the most are {longest}", ids.len())));
        }
        let encoding = fields.take("encoding_format")?.unwrap_or_default();
        let pooling = fields.take("pooling")?.unwrap_or_default();
        fields.ignore(&["user"]);
        fields.refuse(&[("dimensions", "this model's vectors have one length")])?;
        fields.finish()?;
        Ok(Self { inputs, encoding, pooling })
    }

    async fn answer(self, app: &App, asker: &Arc<Asker>) -> Result<Json<Value>, ApiError> {
        let num_tokens: usize = self.inputs.iter().map(Vec::len).sum();
        // One place for the whole request: its texts are worked off one behind the other, between the steps of answers.
        let _ticket = admit_prompts(app, asker, 1, num_tokens)?;
        let limit = app.limits.time;
        let data = tokio::time::timeout(limit, self.vectors(app, asker)).await;
        let data = data.map_err(|_| ApiError::time_is_up(limit))??;
        app.meter.count_prompt_tokens(num_tokens as u64);
        Ok(Json(json!({
            "object": "list",
            "data": data,
            "model": app.name(),
            "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
        })))
    }

    async fn vectors(self, app: &App, asker: &Asker) -> Result<Vec<Value>, ApiError> {
        let mut data = Vec::with_capacity(self.inputs.len());
        for (index, ids) in self.inputs.into_iter().enumerate() {
            let vector = unit(&embedding(app, asker, ids, self.pooling).await?)?;
            data.push(
                json!({"object": "embedding", "index": index, "embedding": self.encoding.value(&vector)}),
            );
        }
        Ok(data)
    }
}

/// A text's pooled hidden state, from the engine.
async fn embedding(app: &App, asker: &Asker, ids: Vec<u32>, pooling: Pooling) -> Result<Vec<f32>, ApiError> {
    let request = Request {
        embed: Some(pooling.into()),
        cache_scope: asker.name.as_str().into(),
        ..Request::new(ids, Sampling::greedy(), 0, Vec::new())
    };
    let mut events = app.submit(request);
    while let Some(event) = events.recv().await {
        match event {
            Event::Begun(_) => {}
            Event::Output(output) => {
                if let Some(vector) = output.embedding {
                    return Ok(vector);
                }
            }
            Event::Failed(failure) if failure.is_user_error => {
                return Err(ApiError::invalid(failure.message));
            }
            Event::Failed(failure) => return Err(ApiError::internal(failure.message)),
        }
    }
    Err(ApiError::internal("the engine stopped before the vector was there"))
}

/// The vector at unit length.
fn unit(vector: &[f32]) -> Result<Vec<f32>, ApiError> {
    let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    if length.is_finite() && length > 0.0 {
        Ok(vector.iter().map(|number| (f64::from(*number) / length) as f32).collect())
    } else {
        Err(ApiError::internal("the model's hidden state has no direction"))
    }
}
