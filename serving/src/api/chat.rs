//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use cupola_runtime::generate::Request;
use serde_json::{Value, json};

use super::admission::{BodyResult, answer_room, check_count, read_fields};
use super::document::{ChatCompletion, ChatCompletionChunk, ChatRequest, Refused};
use super::logprobs::chat_logprobs;
use super::messages::take_messages;
use super::respond::{Format, respond};
use super::sampling::SharedParams;
use super::tools::{ToolUse, read_chat_tool};
use super::{ApiError, Fields};
use crate::answer::Delta;
use crate::app::App;
use crate::keys::Asker;
use crate::model_folder::ServedModel;
use crate::tools::{Piece, WholeCall, whole_calls};

/// Parameters of OpenAI's API that need something this server does not have.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("functions", "'tools' is its newer name"),
    ("function_call", "'tool_choice' is its newer name"),
    ("audio", "this model writes text"),
    ("prediction", "predicted outputs are not offered"),
    ("reasoning_effort", "this model does not reason apart from its answer"),
    ("verbosity", "this model has no such dial"),
    ("web_search_options", "this server makes no outbound request"),
    ("moderation", "what is moderated is this server's own setting"),
];

/// Parameters without an instruction for the model; OpenAI's API ignores or stores them.
pub(super) const IGNORED: &[&str] = &[
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
];

/// Answers a chat.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    request_body = ChatRequest,
    responses(
        (status = 200, description = "The answer; with `stream` its events", content(
            (ChatCompletion = "application/json"), (ChatCompletionChunk = "text/event-stream"))),
        Refused,
    )
)]
pub(crate) async fn chat_completions(
    State(app): State<App>,
    Extension(asker): Extension<Arc<Asker>>,
    headers: HeaderMap,
    body: BodyResult,
) -> Result<Response, ApiError> {
    let (app, fields) = read_fields(&app, &headers, body)?;
    let params = ChatParams::take(fields, &app.model)?;
    let requests = params.requests(&app)?;
    let format = ChatFormat { with_logprobs: params.with_logprobs };
    Ok(respond(&app, &asker, requests, &params.shared, format).await)
}

struct ChatParams {
    shared: SharedParams,
    prompt: Vec<u32>,
    /// With the name of its field.
    max_tokens: Option<(&'static str, usize)>,
    with_logprobs: bool,
    top_logprobs: usize,
}

impl ChatParams {
    fn take(mut fields: Fields, model: &ServedModel) -> Result<Self, ApiError> {
        let messages = take_messages(&mut fields)?;
        let mut shared = SharedParams::take(&mut fields, model)?;
        let mut tools = ToolUse::take(&mut fields, read_chat_tool)?;
        let mut max_tokens = None;
        for field in ["max_completion_tokens", "max_tokens"] {
            let most = fields.number(field, 1..=usize::MAX)?.map(|most| (field, most));
            if most.is_some() && max_tokens.is_some() {
                let message = "'max_tokens' and 'max_completion_tokens' are the same limit: set one of them";
                return Err(ApiError::parameter(field, message));
            }
            max_tokens = most.or(max_tokens);
        }
        let with_logprobs = fields.take("logprobs")?.unwrap_or(false);
        let top_logprobs = fields.number("top_logprobs", 0..=20)?;
        if top_logprobs.is_some_and(|top| top > 0) && !with_logprobs {
            return Err(ApiError::parameter("top_logprobs", "'top_logprobs' needs 'logprobs': true"));
        }
        take_text_only(&mut fields)?;
        fields.ignore(IGNORED);
        fields.refuse(UNSUPPORTED)?;
        fields.finish()?;
        let prompt = shared.prompt(model, "messages", &messages, &mut tools)?;
        Ok(Self { shared, prompt, max_tokens, with_logprobs, top_logprobs: top_logprobs.unwrap_or(0) })
    }

    fn requests(&self, app: &App) -> Result<Vec<Request>, ApiError> {
        let model = &app.model;
        check_count(app, self.shared.num_answers)?;
        let max_new_tokens = answer_room(app, "messages", self.prompt.len(), self.max_tokens)?;
        let stop_ids = if self.shared.ignore_eos { Vec::new() } else { model.stop_ids.clone() };
        Ok((0..self.shared.num_answers)
            .map(|answer| Request {
                top_logprobs: if self.with_logprobs { self.top_logprobs } else { 0 },
                ..Request::new(
                    self.prompt.clone(),
                    self.shared.sampling_of(answer),
                    max_new_tokens,
                    stop_ids.clone(),
                )
            })
            .collect())
    }
}

/// Takes `modalities` where it asks for text.
fn take_text_only(fields: &mut Fields) -> Result<(), ApiError> {
    let modalities: Option<Vec<String>> = fields.take("modalities")?;
    if modalities.is_some_and(|modalities| modalities.iter().any(|modality| modality != "text")) {
        return Err(ApiError::unsupported("modalities", "this model writes text"));
    }
    Ok(())
}

struct ChatFormat {
    with_logprobs: bool,
}

impl ChatFormat {
    fn logprobs(&self, model: &ServedModel, delta: &Delta) -> Value {
        if self.with_logprobs { chat_logprobs(model, &delta.tokens) } else { Value::Null }
    }
}

impl Format for ChatFormat {
    const OBJECT: &'static str = "chat.completion";
    const CHUNK_OBJECT: &'static str = "chat.completion.chunk";
    const ID_PREFIX: &'static str = "chatcmpl";

    fn choice(&mut self, model: &ServedModel, index: usize, delta: &Delta) -> Value {
        let calls = whole_calls(&delta.calls);
        let content = if delta.text.is_empty() && !calls.is_empty() { None } else { Some(&delta.text) };
        let mut message =
            json!({"role": "assistant", "content": content, "refusal": null, "annotations": []});
        if !calls.is_empty() {
            message["tool_calls"] = calls.iter().map(call_value).collect();
        }
        json!({
            "index": index,
            "message": message,
            "logprobs": self.logprobs(model, delta),
            "finish_reason": delta.finish,
        })
    }

    fn opening(&self, index: usize) -> Option<Value> {
        Some(
            json!({"index": index, "delta": {"role": "assistant", "content": ""}, "logprobs": null, "finish_reason": null}),
        )
    }

    fn chunks(&mut self, model: &ServedModel, index: usize, delta: &Delta) -> Vec<Value> {
        let mut chunks = Vec::new();
        if !delta.text.is_empty() || (self.with_logprobs && !delta.tokens.is_empty()) {
            chunks.push(json!({
                "index": index, "delta": {"content": delta.text}, "logprobs": self.logprobs(model, delta), "finish_reason": null,
            }));
        }
        for piece in &delta.calls {
            let call = match piece {
                Piece::Text(_) => continue,
                Piece::Call { index, id, name } => {
                    json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}})
                }
                Piece::Arguments { index, text } => json!({"index": index, "function": {"arguments": text}}),
            };
            chunks.push(
                json!({"index": index, "delta": {"tool_calls": [call]}, "logprobs": null, "finish_reason": null}),
            );
        }
        if let Some(finish) = delta.finish {
            chunks.push(json!({"index": index, "delta": {}, "logprobs": null, "finish_reason": finish}));
        }
        chunks
    }
}

fn call_value(call: &WholeCall) -> Value {
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
}
