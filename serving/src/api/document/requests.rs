//! What may be asked.

#![expect(dead_code, reason = "the document's own: handlers read fields one by one")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A chat to be answered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatRequest {
    /// The model's name, as `/v1/models` tells it.
    model: String,
    /// The chat so far.
    #[schema(min_items = 1)]
    messages: Vec<Message>,
    /// Most new tokens; the newer name.
    #[schema(minimum = 1)]
    max_completion_tokens: Option<u64>,
    /// Most new tokens; what the context leaves where it is absent.
    #[schema(minimum = 1)]
    max_tokens: Option<u64>,
    /// Whether each token's log-probability is told.
    logprobs: Option<bool>,
    /// How many alternatives are told with each; needs `logprobs`.
    #[schema(minimum = 0, maximum = 20)]
    top_logprobs: Option<u64>,
    /// `text` alone.
    modalities: Option<Vec<Modality>>,
    /// Functions that the model may call, where its chat template takes any.
    #[schema(max_items = 128)]
    tools: Option<Vec<Tool>>,
    /// Whether it calls: as it likes (`auto`, the default beside `tools`), not at all, at least once, or this one.
    tool_choice: Option<ToolChoice>,
    /// Whether it may call more than once.
    parallel_tool_calls: Option<bool>,
}

/// Prompts to be continued.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompletionRequest {
    /// The model's name, as `/v1/models` tells it.
    model: String,
    /// What is continued.
    prompt: Prompt,
    /// Most new tokens; 16 where it is absent, and 0 only with `echo`.
    #[schema(minimum = 0)]
    max_tokens: Option<u64>,
    /// Log-probabilities with so many alternatives.
    #[schema(minimum = 0, maximum = 20)]
    logprobs: Option<u64>,
    /// Whether the prompt comes before the new text, with its log-probabilities where those are asked for.
    echo: Option<bool>,
    /// As `n`, or absent.
    #[schema(minimum = 1, maximum = 128)]
    best_of: Option<u64>,
}

/// Texts that become vectors.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmbeddingRequest {
    /// The model's name, as `/v1/models` tells it.
    model: String,
    /// Up to 2,048 texts.
    input: Prompt,
    /// How vectors are written.
    encoding_format: Option<EncodingFormat>,
    /// How one vector is made of a text's hidden states; their mean where it is absent.
    pooling: Option<Pooling>,
    /// Taken and dropped.
    user: Option<Value>,
}

/// How vectors are written.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EncodingFormat {
    Float,
    Base64,
}

/// The mean, or the last token's.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pooling {
    Mean,
    Last,
}

/// How tokens are chosen; `whole` puts it into requests.
#[derive(Deserialize, ToSchema)]
pub(crate) struct SamplingFields {
    /// Flattens (over 1) or sharpens the distribution; 0 takes the likeliest token.
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    /// Tokens of this probability together are kept.
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    /// So many of the likeliest tokens are kept; 0 keeps all.
    #[schema(minimum = 0)]
    top_k: Option<u64>,
    /// Tokens of at least this share of the likeliest one's probability are kept.
    #[schema(minimum = 0, maximum = 1)]
    min_p: Option<f64>,
    /// Divides the scores of tokens that are there already.
    #[schema(minimum = 0.01, maximum = 10)]
    repetition_penalty: Option<f64>,
    /// Taken off the scores of tokens that the answer has.
    #[schema(minimum = -2, maximum = 2)]
    presence_penalty: Option<f64>,
    /// The same, once for each time.
    #[schema(minimum = -2, maximum = 2)]
    frequency_penalty: Option<f64>,
    /// Added to the scores of token ids, −100 to 100.
    logit_bias: Option<BTreeMap<String, f64>>,
    /// The same request with the same seed has the same answer.
    seed: Option<i64>,
    /// Whether tokens that end an answer are passed over.
    ignore_eos: Option<bool>,
    /// Whether the answer comes as server-sent events.
    stream: Option<bool>,
}

/// What both older routes may have.
#[derive(Deserialize, ToSchema)]
pub(crate) struct SharedFields {
    /// Answers, each with a stream of random numbers of its own.
    #[schema(minimum = 1, maximum = 128)]
    n: Option<u64>,
    /// Up to 4 texts that end the answer.
    stop: Option<Stop>,
    /// Needs `stream`.
    stream_options: Option<StreamOptions>,
}

/// The form of an answer.
#[derive(Deserialize, ToSchema)]
pub(crate) struct FormFields {
    /// The form of the answer. One that ends with `stop` always has it; not with `stop` texts.
    response_format: Option<ResponseFormat>,
    /// A form that OpenAI's API has no name for: one of the fields.
    structured_outputs: Option<StructuredOutputs>,
}

/// What carries no instruction for the model; it is taken and dropped.
#[derive(Deserialize, ToSchema)]
pub(crate) struct IgnoredFields {
    user: Option<Value>,
    metadata: Option<Value>,
    store: Option<Value>,
    service_tier: Option<Value>,
    safety_identifier: Option<Value>,
    prompt_cache_key: Option<Value>,
    prompt_cache_retention: Option<Value>,
}

/// A tool.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tool {
    r#type: FunctionType,
    function: FunctionTool,
}

/// The one type that there is.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FunctionType {
    Function,
}

/// A function.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FunctionTool {
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    name: String,
    description: Option<String>,
    /// The JSON schema of its arguments; none where it is absent.
    #[schema(value_type = Option<Object>)]
    parameters: Option<Value>,
    /// Changes nothing: arguments of calls that are asked for always validate.
    strict: Option<bool>,
}

/// A word, or a function.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ToolChoice {
    Word(ToolWord),
    Function(NamedTool),
}

/// Whether the model calls.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ToolWord {
    None,
    Auto,
    Required,
}

/// A function by name.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NamedTool {
    r#type: FunctionType,
    function: FunctionName,
}

/// A function's name.
#[derive(Deserialize, ToSchema)]
pub(crate) struct FunctionName {
    name: String,
}

/// A call of an assistant's.
#[derive(Deserialize, ToSchema)]
pub(crate) struct MessageCall {
    id: String,
    r#type: FunctionType,
    function: CalledFunction,
}

/// A function with its arguments.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CalledFunction {
    name: String,
    /// The text of a JSON object.
    arguments: String,
}

/// One message.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Message {
    /// Who says it.
    role: Role,
    /// What; an assistant that calls may say nothing.
    content: Option<Content>,
    /// An assistant's calls.
    tool_calls: Option<Vec<MessageCall>>,
    /// The call that a tool answers.
    tool_call_id: Option<String>,
    /// The tool's name.
    name: Option<String>,
}

/// Who says something; `developer` is `system`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

/// A text, whole or in parts.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Content {
    Text(String),
    Parts(Vec<TextPart>),
}

/// A part of a text.
#[derive(Deserialize, ToSchema)]
pub(crate) struct TextPart {
    r#type: TextType,
    text: String,
}

/// The one type that there is.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TextType {
    Text,
}

/// The kind of a form.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ResponseFormat {
    /// Any text.
    Text {},
    /// Any JSON object.
    JsonObject {},
    /// JSON of a schema.
    JsonSchema { json_schema: NamedSchema },
}

/// A JSON schema.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedSchema {
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    name: String,
    description: Option<String>,
    /// Any JSON object where it is absent.
    #[schema(value_type = Option<Object>)]
    schema: Option<Value>,
    /// Changes nothing: an answer always validates.
    strict: Option<bool>,
}

/// A form of an answer, by one of these.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StructuredOutputs {
    /// A JSON schema, or the text of one.
    json: Option<Value>,
    /// Any JSON object.
    json_object: Option<bool>,
    /// Text that matches it from end to end.
    regex: Option<String>,
    /// One of these texts.
    #[schema(min_items = 1)]
    choice: Option<Vec<String>>,
    /// A grammar in llguidance's dialect of Lark.
    grammar: Option<String>,
}

/// What the model makes.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Modality {
    Text,
}

/// Texts, or token ids.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Prompt {
    Text(String),
    Ids(Vec<u32>),
    Texts(Vec<String>),
    IdLists(Vec<Vec<u32>>),
}

/// One text or up to four.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Stop {
    One(String),
    Many(Vec<String>),
}

/// What a stream tells besides the answer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamOptions {
    /// A last chunk tells the usage.
    include_usage: Option<bool>,
    /// Each chunk tells it.
    continuous_usage_stats: Option<bool>,
    /// Taken and dropped: nothing is padded.
    include_obfuscation: Option<Value>,
}
