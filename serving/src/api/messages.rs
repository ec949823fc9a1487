//! Chat messages as OpenAI's clients send them, and the model's own chat turns made of them.

use cupola_specs::artifact::{ChatMessage, FunctionCall, ToolCall};
use serde_json::{Map, Value};

use super::tools::take_type;
use super::{ApiError, Fields};

/// Turns the request's `messages` into turns of the chat template.
pub(crate) fn take_messages(fields: &mut Fields) -> Result<Vec<ChatMessage>, ApiError> {
    let messages: Vec<Map<String, Value>> = fields.require("messages")?;
    if messages.is_empty() {
        return Err(ApiError::parameter(
            "messages",
            "'messages' is empty: a chat needs at least one message",
        ));
    }
    let mut taken: Vec<ChatMessage> = Vec::with_capacity(messages.len());
    for (at, message) in messages.into_iter().enumerate() {
        let message = take_message(at, Fields::of(message))?;
        check_answer(at, &message, &taken)?;
        taken.push(message);
    }
    Ok(taken)
}

fn take_message(at: usize, mut fields: Fields) -> Result<ChatMessage, ApiError> {
    let name = format!("messages[{at}]");
    let role: String = fields.require("role").map_err(|error| error.about(format!("{name}.role")))?;
    let role = match role.as_str() {
        "system" | "developer" => "system",
        "user" => "user",
        "assistant" => "assistant",
        "tool" => "tool",
        "function" => {
            return Err(ApiError::unsupported(&format!("{name}.role"), "'tool' is its newer name"));
        }
        other => {
            return Err(ApiError::parameter(
                format!("{name}.role"),
                format!(
                    "Invalid value: '{other}'. Supported values are: 'system', 'developer', 'user', 'assistant' and 'tool'."
                ),
            ));
        }
    };
    let mut message = ChatMessage::new(role, "");
    let content: Option<Value> = fields.take("content")?;
    if role == "assistant" {
        message.tool_calls = take_calls(&name, fields.take("tool_calls")?)?;
    }
    if role == "tool" {
        let id =
            fields.require("tool_call_id").map_err(|error| error.about(format!("{name}.tool_call_id")))?;
        message.tool_call_id = Some(id);
        message.name = fields.take("name").map_err(|error| error.about(format!("{name}.name")))?;
    }
    if content.is_some() || message.tool_calls.is_empty() {
        message.content = take_content(&format!("{name}.content"), content)?;
    }
    // What a client copies from an earlier answer of ours: empty or null, it says nothing.
    let whole_message = "only 'role' and a text 'content' make a message";
    fields
        .refuse(&[
            ("name", "the chat template has no place for names"),
            ("tool_calls", "only an assistant calls tools"),
            ("function_call", "'tool_calls' is its newer name"),
            ("tool_call_id", "only a tool answers a call"),
            ("refusal", whole_message),
            ("audio", whole_message),
            ("annotations", whole_message),
        ])
        .map_err(|error| error.about(name.clone()))?;
    fields.finish().map_err(|error| error.about(name))?;
    Ok(message)
}

/// An assistant's calls, whose arguments come as the text of JSON.
fn take_calls(name: &str, calls: Option<Vec<Map<String, Value>>>) -> Result<Vec<ToolCall>, ApiError> {
    let take = |(at, call): (usize, Map<String, Value>)| {
        let param = format!("{name}.tool_calls[{at}]");
        take_call(&param, Fields::of(call)).map_err(|error| error.about(&param))
    };
    calls.unwrap_or_default().into_iter().enumerate().map(take).collect()
}

fn take_call(param: &str, mut fields: Fields) -> Result<ToolCall, ApiError> {
    take_type(param, &mut fields)?;
    let id = fields.require("id")?;
    // A place that a client keeps of the stream's pieces.
    fields.ignore(&["index"]);
    let mut function = Fields::of(fields.require("function")?);
    fields.finish()?;
    let (name, arguments): (String, String) = (function.require("name")?, function.require("arguments")?);
    function.finish()?;
    tool_call(id, name, &arguments)
}

/// A call with its arguments as the template gets them.
pub(crate) fn tool_call(id: String, name: String, arguments: &str) -> Result<ToolCall, ApiError> {
    let text = if arguments.trim().is_empty() { "{}" } else { arguments };
    let arguments = serde_json::from_str(text).map_err(|error| {
        ApiError::invalid(format!("'arguments' is not the text of a JSON object: {error}"))
    })?;
    Ok(ToolCall { id, kind: "function".into(), function: FunctionCall { name, arguments } })
}

/// A tool's message answers a call of the assistant's before it.
pub(crate) fn check_answer(at: usize, message: &ChatMessage, before: &[ChatMessage]) -> Result<(), ApiError> {
    let Some(id) = &message.tool_call_id else { return Ok(()) };
    let asker = before.iter().rfind(|message| message.role != "tool");
    if asker.is_some_and(|asker| asker.tool_calls.iter().any(|call| call.id == *id)) {
        return Ok(());
    }
    let message =
        format!("messages[{at}] answers the call '{id}', which the message before it does not make");
    Err(ApiError::parameter(format!("messages[{at}].tool_call_id"), message))
}

fn take_content(name: &str, content: Option<Value>) -> Result<String, ApiError> {
    let wrong = || {
        ApiError::parameter(
            name,
            format!("Invalid value for '{name}': expected a text or a list of text parts"),
        )
    };
    match content {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) => {
            let mut text = String::new();
            for part in parts {
                match (part.get("type").and_then(Value::as_str), part.get("text").and_then(Value::as_str)) {
                    (Some("text"), Some(part)) => text.push_str(part),
                    (Some("text") | None, _) => return Err(wrong()),
                    (Some(kind), _) => {
                        return Err(ApiError::unsupported(
                            name,
                            &format!("this model reads text, not '{kind}' parts"),
                        ));
                    }
                }
            }
            Ok(text)
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use serde_json::json;

    use super::*;

    fn take(messages: &Value) -> Result<Vec<ChatMessage>, ApiError> {
        take_messages(&mut Fields::parse(&Bytes::from(json!({"messages": messages}).to_string()))?)
    }

    #[test]
    fn text_parts_are_joined_and_developer_is_system() {
        let messages = take(&json!([
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "c", "refusal": null, "tool_calls": null, "annotations": []},
        ]))
        .unwrap();
        let seen: Vec<(&str, &str)> =
            messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
        assert_eq!(seen, [("system", "Be brief."), ("user", "ab"), ("assistant", "c")]);
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused_by_name() {
        for (messages, param) in [
            (json!([]), "messages"),
            (json!([{"role": "king", "content": "x"}]), "messages[0].role"),
            (json!([{"role": "tool", "content": "x", "tool_call_id": "1"}]), "messages[0].tool_call_id"),
            (json!([{"role": "tool", "content": "x"}]), "messages[0].tool_call_id"),
            (json!([{"role": "function", "content": "x", "name": "f"}]), "messages[0].role"),
            (json!([{"role": "user", "content": "x", "tool_calls": [{}]}]), "messages[0]"),
            (json!([{"role": "assistant", "content": "x", "tool_calls": [{}]}]), "messages[0].tool_calls[0]"),
            (
                json!([{"role": "assistant", "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}
                ]}]),
                "messages[0].tool_calls[0]",
            ),
            (json!([{"role": "user", "content": 3}]), "messages[0].content"),
            (json!([{"role": "user"}]), "messages[0].content"),
            (
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
                "messages[0].content",
            ),
            (json!([{"role": "user", "content": "x", "mood": "good"}]), "messages[0]"),
        ] {
            assert_eq!(take(&messages).unwrap_err().body()["error"]["param"], param, "{messages}");
        }
    }
}
