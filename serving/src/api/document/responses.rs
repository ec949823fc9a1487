//! Requests and answers of `/v1/responses`.

#![expect(dead_code, reason = "the document's own: handlers read fields one by one and write values")]
#![expect(clippy::struct_field_names, reason = "OpenAI's names")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::requests::{FunctionType, Role, StreamOptions, ToolWord};

/// A chat to be answered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResponsesRequest {
    /// The model's name, as `/v1/models` tells it.
    model: String,
    /// The chat so far: one text of a user's, or messages, function calls and their outputs.
    input: ResponseInput,
    /// A system's text before it.
    instructions: Option<String>,
    /// Most new tokens.
    #[schema(minimum = 1)]
    max_output_tokens: Option<u64>,
    /// The form of the answer.
    text: Option<ResponseText>,
    /// Functions that the model may call, where its chat template takes any.
    #[schema(max_items = 128)]
    tools: Option<Vec<ResponseTool>>,
    /// Whether it calls.
    tool_choice: Option<ResponseToolChoice>,
    /// Whether it may call more than once.
    parallel_tool_calls: Option<bool>,
    /// Taken, and repeated by the answer.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// Nothing is cut from a chat.
    truncation: Option<Truncation>,
    /// `false`, or absent: nothing is stored.
    store: Option<bool>,
    stream_options: Option<StreamOptions>,
    user: Option<Value>,
    service_tier: Option<Value>,
    safety_identifier: Option<Value>,
    prompt_cache_key: Option<Value>,
    prompt_cache_retention: Option<Value>,
}

/// A text or items.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ResponseInput {
    Text(String),
    Items(Vec<InputItem>),
}

/// A message, a function call or its output.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum InputItem {
    Message(InputMessage),
    Call(InputCall),
    Output(InputOutput),
}

/// A message.
#[derive(Deserialize, ToSchema)]
pub(crate) struct InputMessage {
    role: Role,
    content: InputContent,
}

/// A text, whole or in parts.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum InputContent {
    Text(String),
    Parts(Vec<InputPart>),
}

/// A part of a text.
#[derive(Deserialize, ToSchema)]
pub(crate) struct InputPart {
    r#type: InputPartType,
    text: String,
}

/// The types of texts.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InputPartType {
    InputText,
    OutputText,
    Text,
}

/// A call that the model made.
#[derive(Deserialize, ToSchema)]
pub(crate) struct InputCall {
    r#type: InputCallType,
    call_id: String,
    name: String,
    /// The text of a JSON object.
    arguments: String,
}

/// The type of calls.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InputCallType {
    FunctionCall,
}

/// What a function gave.
#[derive(Deserialize, ToSchema)]
pub(crate) struct InputOutput {
    r#type: InputOutputType,
    call_id: String,
    output: InputContent,
}

/// The type of outputs.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InputOutputType {
    FunctionCallOutput,
}

/// What is asked of the text.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResponseText {
    format: Option<TextForm>,
}

/// The form of an answer.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum TextForm {
    /// Any text.
    Text {},
    /// Any JSON object.
    JsonObject {},
    /// JSON of a schema.
    JsonSchema {
        name: String,
        #[schema(value_type = Object)]
        schema: Value,
        strict: Option<bool>,
        description: Option<String>,
    },
}

/// A function.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResponseTool {
    r#type: FunctionType,
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    name: String,
    description: Option<String>,
    #[schema(value_type = Option<Object>)]
    parameters: Option<Value>,
    strict: Option<bool>,
}

/// A word, or a function.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ResponseToolChoice {
    Word(ToolWord),
    Function(ResponseFunction),
}

/// A function by name.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ResponseFunction {
    r#type: FunctionType,
    name: String,
}

/// The one word that there is.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Truncation {
    Disabled,
}

/// An answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResponseAnswer {
    id: String,
    object: String,
    created_at: u64,
    status: ResponseStatus,
    model: String,
    /// Messages and function calls, in the answer's order.
    output: Vec<OutputItem>,
    /// With its last event; before, `null`.
    usage: Option<ResponseUsage>,
    /// `reason`: `max_output_tokens` where the answer was cut, `content_filter` where it was refused.
    incomplete_details: Option<BTreeMap<String, String>>,
    error: Option<BTreeMap<String, String>>,
    instructions: Option<String>,
    max_output_tokens: Option<u64>,
    parallel_tool_calls: bool,
    temperature: f64,
    top_p: f64,
    text: Value,
    tool_choice: Value,
    tools: Vec<Value>,
    metadata: BTreeMap<String, Value>,
    /// False.
    store: bool,
}

/// How far an answer is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ResponseStatus {
    InProgress,
    Completed,
    Incomplete,
    Failed,
}

/// A message or a function call.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum OutputItem {
    Message { id: String, status: ResponseStatus, role: String, content: Vec<Value> },
    FunctionCall { id: String, status: ResponseStatus, call_id: String, name: String, arguments: String },
}

/// Tokens.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResponseUsage {
    input_tokens: u64,
    output_tokens: u64,
    total_tokens: u64,
}

/// A typed event.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResponseEvent {
    /// `response.output_text.delta`, `response.completed`, ….
    event: String,
    /// JSON with that name as its `type`, a `sequence_number` from 0 on, and what the event tells.
    data: String,
}
