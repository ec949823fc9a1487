//! Chat messages as OpenAI's clients send them, and the model's own chat turns made of them.

use cupola_specs::artifact::ChatMessage;
use serde_json::{Map, Value};

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
    messages.into_iter().enumerate().map(|(at, message)| take_message(at, Fields::of(message))).collect()
}

fn take_message(at: usize, mut fields: Fields) -> Result<ChatMessage, ApiError> {
    let name = format!("messages[{at}]");
    let role: String = fields.require("role").map_err(|error| error.about(format!("{name}.role")))?;
    let role = match role.as_str() {
        "system" | "developer" => "system",
        "user" => "user",
        "assistant" => "assistant",
        "tool" | "function" => {
            return Err(ApiError::unsupported(&format!("{name}.role"), "tools are not offered"));
        }
        other => {
            return Err(ApiError::parameter(
                format!("{name}.role"),
                format!(
                    "Invalid value: '{other}'. Supported values are: 'system', 'developer', 'user' and 'assistant'."
                ),
            ));
        }
    };
    let content = take_content(&format!("{name}.content"), fields.take("content")?)?;
    // What a client copies from an earlier answer of ours: empty or null, it says nothing.
    let whole_message = "only 'role' and a text 'content' make a message";
    fields
        .refuse(&[
            ("name", "the chat template has no place for names"),
            ("tool_calls", "tools are not offered"),
            ("function_call", "tools are not offered"),
            ("tool_call_id", "tools are not offered"),
            ("refusal", whole_message),
            ("audio", whole_message),
            ("annotations", whole_message),
        ])
        .map_err(|error| error.about(name.clone()))?;
    fields.finish().map_err(|error| error.about(name))?;
    Ok(ChatMessage { role: role.to_owned(), content })
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
            (json!([{"role": "tool", "content": "x", "tool_call_id": "1"}]), "messages[0].role"),
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
