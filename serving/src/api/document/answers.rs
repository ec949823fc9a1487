//! What is answered.

#![expect(dead_code, reason = "the document's own: handlers write values")]
#![expect(clippy::struct_field_names, reason = "OpenAI's names")]

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoResponses, ToSchema};

/// A whole answer to a chat.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatCompletion {
    /// As many as `n`.
    choices: Vec<ChatChoice>,
    usage: Usage,
}

/// An event of a chat's stream.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatCompletionChunk {
    /// One; none in the chunk that tells the usage.
    choices: Vec<ChatChunkChoice>,
    usage: Option<Usage>,
}

/// Continued prompts, whole or an event of a stream.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Completion {
    /// By prompt, then by answer.
    choices: Vec<CompletionChoice>,
    usage: Option<Usage>,
}

/// How answers begin; `whole` puts it into them.
#[derive(Serialize, ToSchema)]
pub(crate) struct HeadFields {
    id: String,
    object: String,
    /// Seconds since the Unix epoch.
    created: u64,
    model: String,
    /// Which weights answered.
    system_fingerprint: Option<String>,
}

/// Tokens.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Usage {
    prompt_tokens: u64,
    /// The tokens that ended answers included.
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptTokensDetails,
}

/// What prompts were made of.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromptTokensDetails {
    /// Found in the cache of prompts.
    cached_tokens: u64,
}

/// Why an answer ended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FinishReason {
    /// The model or a stop text ended it.
    Stop,
    /// It has as many tokens as it may.
    Length,
    /// It calls tools.
    ToolCalls,
    /// The prompt or what it says is refused by the server's rules; the refusal is its text, or the end of it.
    ContentFilter,
}

/// One answer to a chat.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatChoice {
    index: u64,
    message: AnswerMessage,
    logprobs: Option<ChatLogprobs>,
    finish_reason: FinishReason,
}

/// What the model said.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerMessage {
    role: String,
    content: Option<String>,
    refusal: Option<String>,
    annotations: Vec<Value>,
    /// What it asks tools to do.
    tool_calls: Option<Vec<AnswerCall>>,
}

/// A call of a tool.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerCall {
    id: String,
    r#type: String,
    function: AnswerFunction,
}

/// A function with its arguments.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerFunction {
    name: String,
    /// JSON, as the model wrote it.
    arguments: String,
}

/// A call of a tool, or more of its arguments.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallDelta {
    /// Its place among the answer's calls.
    index: u64,
    /// With the first piece, as are the type and the name.
    id: Option<String>,
    r#type: Option<String>,
    function: FunctionDelta,
}

/// A function's name, or more of its arguments.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FunctionDelta {
    name: Option<String>,
    arguments: String,
}

/// What is new of one answer.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatChunkChoice {
    index: u64,
    delta: ChatDelta,
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<FinishReason>,
}

/// New text.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatDelta {
    role: Option<String>,
    content: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

/// Log-probabilities of an answer's tokens.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatLogprobs {
    content: Vec<ScoredToken>,
    refusal: Option<Vec<ScoredToken>>,
}

/// A token and its alternatives.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScoredToken {
    token: String,
    logprob: f64,
    bytes: Vec<u8>,
    top_logprobs: Vec<Alternative>,
}

/// A token that might have been.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alternative {
    token: String,
    logprob: f64,
    bytes: Vec<u8>,
}

/// One continued prompt.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompletionChoice {
    text: String,
    index: u64,
    logprobs: Option<CompletionLogprobs>,
    finish_reason: Option<FinishReason>,
}

/// Parallel lists over tokens.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompletionLogprobs {
    tokens: Vec<String>,
    /// `null` for a text's first token, which follows on nothing.
    token_logprobs: Vec<Option<f64>>,
    top_logprobs: Vec<Option<BTreeMap<String, f64>>>,
    /// Where each token begins, in characters.
    text_offset: Vec<u64>,
}

/// A vector for each text.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmbeddingList {
    object: String,
    data: Vec<Embedding>,
    model: String,
    usage: PromptUsage,
}

/// A text's vector.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Embedding {
    object: String,
    index: u64,
    embedding: Vector,
}

/// Numbers, or the base64 of them as little-endian 32-bit floats.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

/// Tokens of texts.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromptUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// The models that are served.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelList {
    object: String,
    data: Vec<Model>,
}

/// A model that is served.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    id: String,
    object: String,
    /// Seconds since the Unix epoch; 0 where nobody knows.
    created: i64,
    owned_by: String,
    /// The name of the model that an adapter stands beside; null for a model.
    #[schema(required)]
    parent: Option<String>,
    /// Tokens of prompt and answer together.
    max_model_len: u64,
    parameters: u64,
    /// Of the artifact; empty where the folder has no manifest. Of an adapter the blake3 of its config and weights.
    fingerprint: String,
    /// Fingerprints of what it was made from, by role; of an adapter that of its model.
    lineage: BTreeMap<String, String>,
    /// blake3 of `tokenizer.json`; null for a GGUF file.
    #[schema(required)]
    tokenizer_hash: Option<String>,
    /// blake3 of the file with the chat template.
    #[schema(required)]
    chat_template_hash: Option<String>,
    /// The number format of the weights that answer: fp32, bf16, int8 or int4.
    weight_format: String,
    /// What the check of the parity seal found; null where the model has none.
    #[schema(required)]
    parity: Option<Parity>,
    sampling_defaults: SamplingDefaults,
}

/// How far log-probabilities of golden prompts are from those that were written when the model was made.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parity {
    tokens: u64,
    /// Nats.
    mean_difference: f64,
    /// Nats.
    largest_difference: f64,
}

/// What a request that says nothing gets.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SamplingDefaults {
    temperature: f64,
    top_p: f64,
    top_k: u64,
    repetition_penalty: f64,
}

/// A life sign.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LifeSign {
    status: String,
}

/// That requests are taken, and by which models.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Readiness {
    status: String,
    /// Only for who may ask for a model.
    models: Option<Vec<ReadyModel>>,
    /// Why a model that was promoted is not served yet, in words; only for who may ask for a model.
    trouble: Option<String>,
}

/// A model that answers.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadyModel {
    id: String,
    fingerprint: String,
}

/// An error.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErrorAnswer {
    error: ErrorText,
}

/// An error in words.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErrorText {
    message: String,
    r#type: String,
    /// The parameter that is at fault.
    param: Option<String>,
    code: Option<String>,
}

/// How a request may be refused.
#[derive(IntoResponses)]
pub(crate) enum Refused {
    /// The request is wrong; `param` names the parameter.
    #[response(status = 400)]
    Wrong(ErrorAnswer),
    /// No key, or none that is known.
    #[response(status = 401)]
    Key(ErrorAnswer),
    /// A host name that this server does not go by.
    #[response(status = 403)]
    Host(ErrorAnswer),
    /// No such model.
    #[response(status = 404)]
    Model(ErrorAnswer),
    /// The body came too slowly.
    #[response(status = 408)]
    Slow(ErrorAnswer),
    /// The body is too long.
    #[response(status = 413)]
    Long(ErrorAnswer),
    /// The line is full, or the key's limit is used up.
    #[response(status = 429)]
    Busy(ErrorAnswer),
    /// The engine failed.
    #[response(status = 500)]
    Failed(ErrorAnswer),
    /// The server stops.
    #[response(status = 503)]
    Stopping(ErrorAnswer),
    /// The answer took too long.
    #[response(status = 504)]
    Late(ErrorAnswer),
}
