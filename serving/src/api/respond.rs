//! What both routes do with a request that was read: answers from the engine, whole or as a stream.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use cupola_runtime::generate::Request;
use serde_json::Value;

use super::ApiError;
use super::admission::{Admitted, Usage, admit};
use super::rate_headers::write_rate_headers;
use super::sampling::SharedParams;
use super::sse::stream_answers;
use crate::answer::Delta;
use crate::app::App;
use crate::keys::Asker;
use crate::model_folder::ServedModel;

/// What differs between the routes' answers.
pub(super) trait Format: Send + 'static {
    /// A whole answer's `object`.
    const OBJECT: &'static str;
    /// The `object` of a stream's chunks.
    const CHUNK_OBJECT: &'static str;
    /// How ids begin.
    const ID_PREFIX: &'static str;

    /// The choice that holds a whole answer.
    fn choice(&mut self, model: &ServedModel, index: usize, delta: &Delta) -> Value;

    /// The choice that opens an answer's stream, where the route has one.
    fn opening(&self, index: usize) -> Option<Value>;

    /// The choices of a stream for what became sure of an answer.
    fn chunks(&mut self, model: &ServedModel, index: usize, delta: &Delta) -> Vec<Value>;
}

/// Has the engine answer the requests. Answers and refusals say where the asker's limits stand.
pub(super) async fn respond<F: Format>(
    app: &App,
    asker: &Arc<Asker>,
    requests: Vec<Request>,
    shared: &SharedParams,
    format: F,
) -> Response {
    let result = answer(app, asker, requests, shared, format).await;
    let mut response = result.into_response();
    write_rate_headers(app, asker, response.headers_mut());
    response
}

async fn answer<F: Format>(
    app: &App,
    asker: &Arc<Asker>,
    requests: Vec<Request>,
    shared: &SharedParams,
    format: F,
) -> Result<Response, ApiError> {
    let admitted = admit(app, asker, requests, shared.num_answers, shared).await?;
    if shared.stream {
        Ok(stream_answers(app, admitted, format, shared.usage))
    } else {
        whole(app, admitted, format).await
    }
}

async fn whole<F: Format>(app: &App, mut admitted: Admitted, mut format: F) -> Result<Response, ApiError> {
    let mut choices = Vec::new();
    let mut usage = Usage::of(&admitted);
    for (index, answer) in admitted.answers.iter_mut().enumerate() {
        let delta = answer.collect().await?;
        usage.set(index, answer.took());
        choices.push(format.choice(&app.model, index, &delta));
    }
    let mut head = app.answer_head(F::ID_PREFIX, F::OBJECT);
    head.insert("choices".into(), Value::Array(choices));
    head.insert("usage".into(), usage.value());
    Ok(Json(Value::Object(head)).into_response())
}
