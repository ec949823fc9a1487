//! `POST /v1/responses`: OpenAI's newer API, its text and functions. Nothing is stored: each request holds its whole chat.

mod input;
mod items;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cupola_runtime::generate::Request;
use futures::stream::{self, StreamExt};
use serde_json::{Map, Value, json};

use super::admission::{Admitted, BodyResult, admit, answer_room, read_fields};
use super::document::{Refused, ResponseAnswer, ResponseEvent, ResponsesRequest};
use super::form::Form;
use super::rate_headers::write_rate_headers;
use super::sampling::SharedParams;
use super::tools::{ToolUse, read_flat_tool};
use super::{ApiError, Fields, random_u64};
use crate::answer::TextAnswer;
use crate::app::App;
use crate::keys::Asker;
use crate::model_folder::ServedModel;
use input::take_input;
use items::Items;

/// Parameters of OpenAI's API that need something this server does not have.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("previous_response_id", "nothing is stored here: send the whole chat as 'input'"),
    ("conversation", "nothing is stored here: send the whole chat as 'input'"),
    ("include", "nothing else is told"),
    ("reasoning", "this model does not reason apart from its answer"),
    ("prompt", "no prompts are kept here"),
    ("max_tool_calls", "only the client carries calls out"),
    ("top_logprobs", "log-probabilities are told by /v1/chat/completions"),
    ("context_management", "nothing is cut from a chat"),
    ("moderation", "what is moderated is this server's own setting"),
];
/// Switches that can only be off.
const SWITCHES: &[(&str, &str)] = &[
    ("store", "nothing is stored here: send the whole chat as 'input', and 'store' as false"),
    ("background", "an answer is made while its request waits"),
];
/// Parameters of the other routes that this one does not have.
const ELSEWHERE: [&str; 5] = ["n", "stop", "response_format", "structured_outputs", "messages"];
/// Parameters without an instruction for the model.
const IGNORED: &[&str] =
    &["user", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"];

/// Answers a chat.
#[utoipa::path(
    post,
    path = "/v1/responses",
    request_body = ResponsesRequest,
    responses(
        (status = 200, description = "The answer; with `stream` its events", content(
            (ResponseAnswer = "application/json"), (ResponseEvent = "text/event-stream"))),
        Refused,
    )
)]
pub(crate) async fn responses(
    State(app): State<App>,
    Extension(asker): Extension<Arc<Asker>>,
    headers: HeaderMap,
    body: BodyResult,
) -> Result<Response, ApiError> {
    let (app, fields) = read_fields(&app, &headers, body)?;
    let params = ResponseParams::take(fields, &app.model)?;
    let request = params.request(&app)?;
    let mut response = match admit(&app, &asker, vec![request], 1, &params.shared).await {
        Ok(admitted) => params.answer(&app, admitted).await,
        Err(error) => error.into_response(),
    };
    write_rate_headers(&app, &asker, response.headers_mut());
    Ok(response)
}

struct ResponseParams {
    shared: SharedParams,
    prompt: Vec<u32>,
    max_output_tokens: Option<usize>,
    /// The fields that the answer repeats.
    echo: Map<String, Value>,
}

impl ResponseParams {
    fn take(mut fields: Fields, model: &ServedModel) -> Result<Self, ApiError> {
        if let Some(name) = ELSEWHERE.iter().find(|name| fields.has(name)) {
            return Err(ApiError::unknown_parameter(name));
        }
        let mut echo = Map::new();
        for name in [
            "instructions",
            "metadata",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "text",
            "max_output_tokens",
        ] {
            echo.insert(name.into(), fields.peek(name));
        }
        take_stream_options(&mut fields)?;
        let text: Option<Map<String, Value>> = fields.take("text")?;
        let form = text.map(take_text).transpose()?.flatten();
        let mut shared = SharedParams::take(&mut fields, model)?;
        shared.form = form;
        let mut tools = ToolUse::take(&mut fields, read_flat_tool)?;
        let instructions: Option<String> = fields.take("instructions")?;
        let messages = take_input(fields.require("input")?, instructions)?;
        let max_output_tokens = fields.number("max_output_tokens", 1..=usize::MAX)?;
        let _: Option<Map<String, Value>> = fields.take("metadata")?;
        for (name, why) in SWITCHES {
            if fields.take::<bool>(name)? == Some(true) {
                return Err(ApiError::unsupported(name, why));
            }
        }
        let truncation: Option<String> = fields.take("truncation")?;
        if truncation.is_some_and(|truncation| truncation != "disabled") {
            return Err(ApiError::unsupported(
                "truncation",
                "nothing is cut from a chat: 'disabled' is offered",
            ));
        }
        fields.ignore(IGNORED);
        fields.refuse(UNSUPPORTED)?;
        fields.finish()?;
        let prompt = shared.prompt(model, "input", &messages, &mut tools)?;
        Ok(Self { shared, prompt, max_output_tokens, echo })
    }

    fn request(&self, app: &App) -> Result<Request, ApiError> {
        let asked = self.max_output_tokens.map(|most| ("max_output_tokens", most));
        let max_new_tokens = answer_room(app, "input", self.prompt.len(), asked)?;
        let stop_ids = if self.shared.ignore_eos { Vec::new() } else { app.model.stop_ids.clone() };
        let sampling = self.shared.sampling_of(0);
        Ok(Request::new(self.prompt.clone(), sampling, max_new_tokens, stop_ids))
    }

    async fn answer(self, app: &App, admitted: Admitted) -> Response {
        let is_stream = self.shared.stream;
        let head = Head::new(app, self, admitted.prompt_tokens);
        let Admitted { answers, ticket, .. } = admitted;
        let Some(mut answer) = answers.into_iter().next() else {
            return ApiError::internal("the answer was not begun").into_response();
        };
        if is_stream {
            return events(answer, head, ticket);
        }
        let whole = match answer.collect().await {
            Ok(whole) => whole,
            Err(error) => return error.into_response(),
        };
        let mut items = Items::default();
        items.push(&whole);
        items.close(whole.finish);
        Json(head.end(&items, whole.finish, answer.took())).into_response()
    }
}

/// `text`: the form of the answer.
fn take_text(text: Map<String, Value>) -> Result<Option<Form>, ApiError> {
    let mut text = Fields::of(text);
    let format = text.take("format").map_err(|error| error.about("text.format"))?;
    let form = format.map(Form::of_text).transpose()?.flatten();
    text.refuse(&[("verbosity", "this model has no such dial")])
        .map_err(|error| error.about("text.verbosity"))?;
    text.finish().map_err(|error| error.about("text"))?;
    Ok(form)
}

/// `stream_options`: nothing that a stream would tell otherwise.
fn take_stream_options(fields: &mut Fields) -> Result<(), ApiError> {
    let Some(options) = fields.take::<Map<String, Value>>("stream_options")? else { return Ok(()) };
    let mut options = Fields::of(options);
    options.ignore(&["include_obfuscation"]);
    options.finish().map_err(|error| error.about("stream_options"))
}

/// What a response says beside its items.
struct Head {
    fields: Map<String, Value>,
    prompt_tokens: usize,
}

impl Head {
    fn new(app: &App, params: ResponseParams, prompt_tokens: usize) -> Self {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let ResponseParams { shared, mut echo, .. } = params;
        let or = |value: Value, default: Value| if value.is_null() { default } else { value };
        let mut given = |name: &str, default: Value| or(echo.remove(name).unwrap_or_default(), default);
        let mut text = given("text", json!({}));
        text["format"] = or(text["format"].take(), json!({"type": "text"}));
        let fields = json!({
            "id": format!("resp_{:016x}{:016x}", random_u64(), random_u64()),
            "object": "response",
            "created_at": created,
            "status": "in_progress",
            "background": false,
            "error": null,
            "incomplete_details": null,
            "instructions": given("instructions", Value::Null),
            "max_output_tokens": given("max_output_tokens", Value::Null),
            "metadata": given("metadata", json!({})),
            "model": app.name(),
            "output": [],
            "parallel_tool_calls": given("parallel_tool_calls", json!(true)),
            "previous_response_id": null,
            "store": false,
            "temperature": shared.sampling.temperature,
            "text": text,
            "tool_choice": given("tool_choice", json!("auto")),
            "tools": given("tools", json!([])),
            "top_p": shared.sampling.top_p,
            "truncation": "disabled",
            "usage": null,
        });
        let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
        Self { fields, prompt_tokens }
    }

    /// The response before its first token.
    fn begin(&self) -> Value {
        Value::Object(self.fields.clone())
    }

    /// The whole response.
    fn end(&self, items: &Items, finish: Option<&str>, (cached, generated): (u64, u64)) -> Value {
        let mut response = self.begin();
        let reason = match finish {
            Some("length") => Some("max_output_tokens"),
            Some("content_filter") => Some("content_filter"),
            _ => None,
        };
        response["status"] = json!(if reason.is_some() { "incomplete" } else { "completed" });
        if let Some(reason) = reason {
            response["incomplete_details"] = json!({"reason": reason});
        }
        response["output"] = items.values();
        response["usage"] = json!({
            "input_tokens": self.prompt_tokens,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": generated,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.prompt_tokens as u64 + generated,
        });
        response
    }

    /// A response that failed on its way.
    fn fail(&self, items: &Items, error: &ApiError) -> Value {
        let mut response = self.begin();
        response["status"] = json!("failed");
        response["output"] = items.values();
        response["error"] = json!({"code": "server_error", "message": error.body()["error"]["message"]});
        response
    }
}

/// The answer as typed events. Dropping the stream drops the answer.
fn events(answer: TextAnswer, head: Head, ticket: crate::engine_thread::Ticket) -> Response {
    let opening = ["response.created", "response.in_progress"]
        .map(|kind| json!({"type": kind, "response": head.begin()}))
        .to_vec();
    let state = (answer, head, Items::default(), ticket);
    let body = stream::unfold(Some(state), |state| async {
        let (mut answer, head, mut items, ticket) = state?;
        let delta = match answer.next().await? {
            Ok(delta) => delta,
            Err(error) => {
                let failed = json!({"type": "response.failed", "response": head.fail(&items, &error)});
                return Some((vec![failed], None));
            }
        };
        let mut events = items.push(&delta);
        if delta.finish.is_none() {
            return Some((events, Some((answer, head, items, ticket))));
        }
        events.extend(items.close(delta.finish));
        let response = head.end(&items, delta.finish, answer.took());
        let kind = format!("response.{}", response["status"].as_str().unwrap_or_default());
        events.push(json!({"type": kind, "response": response}));
        Some((events, None))
    });
    let numbered = stream::iter([opening]).chain(body).flat_map(stream::iter).enumerate();
    let events = numbered.map(|(number, mut event)| {
        event["sequence_number"] = json!(number);
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        Ok::<_, std::convert::Infallible>(Event::default().event(kind).data(event.to_string()))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}
