//! `input` and `instructions` as turns of the chat template.

use cupola_specs::artifact::ChatMessage;
use serde_json::{Map, Value};

use crate::api::messages::{check_answer, tool_call};
use crate::api::{ApiError, Fields};

/// What a client copies from an earlier answer, and says nothing here.
const COPIED: &[&str] = &["id", "status", "phase"];

/// The chat: instructions first, then each item of `input`.
pub(super) fn take_input(input: Value, instructions: Option<String>) -> Result<Vec<ChatMessage>, ApiError> {
    let mut messages: Vec<ChatMessage> = Vec::new();
    messages.extend(instructions.map(|text| ChatMessage::new("system", text)));
    let items = match input {
        Value::String(text) => {
            messages.push(ChatMessage::new("user", text));
            return Ok(messages);
        }
        Value::Array(items) if !items.is_empty() => items,
        _ => {
            return Err(ApiError::parameter(
                "input",
                "'input' must be a text or a list of items that is not empty",
            ));
        }
    };
    for (at, item) in items.into_iter().enumerate() {
        let name = format!("input[{at}]");
        let Value::Object(item) = item else {
            return Err(ApiError::parameter(name, "an item of 'input' is an object"));
        };
        take_item(&name, Fields::of(item), &mut messages)?;
    }
    Ok(messages)
}

fn take_item(name: &str, mut fields: Fields, messages: &mut Vec<ChatMessage>) -> Result<(), ApiError> {
    let about = |error: ApiError| error.about(name);
    let kind: Option<String> = fields.take("type").map_err(about)?;
    fields.ignore(COPIED);
    match kind.as_deref().unwrap_or("message") {
        "message" => {
            let role: String = fields.require("role").map_err(about)?;
            let content: Value = fields.require("content").map_err(about)?;
            fields.finish().map_err(about)?;
            messages.push(ChatMessage::new(
                role_of(name, &role)?,
                take_text(&format!("{name}.content"), content)?,
            ));
        }
        "function_call" => {
            let id: String = fields.require("call_id").map_err(about)?;
            let function: String = fields.require("name").map_err(about)?;
            let arguments: String = fields.require("arguments").map_err(about)?;
            fields.finish().map_err(about)?;
            let call = tool_call(id, function, &arguments).map_err(about)?;
            match messages.last_mut().filter(|last| last.role == "assistant") {
                Some(last) => last.tool_calls.push(call),
                None => {
                    messages
                        .push(ChatMessage { tool_calls: vec![call], ..ChatMessage::new("assistant", "") });
                }
            }
        }
        "function_call_output" => {
            let id: String = fields.require("call_id").map_err(about)?;
            let output: Value = fields.require("output").map_err(about)?;
            fields.finish().map_err(about)?;
            let content = take_text(&format!("{name}.output"), output)?;
            let message = ChatMessage { tool_call_id: Some(id), ..ChatMessage::new("tool", content) };
            check_answer(messages.len(), &message, messages)
                .map_err(|error| error.about(format!("{name}.call_id")))?;
            messages.push(message);
        }
        other => {
            let why = format!("messages, function calls and their outputs are offered, not '{other}'");
            return Err(ApiError::unsupported(&format!("{name}.type"), &why));
        }
    }
    Ok(())
}

fn role_of(name: &str, role: &str) -> Result<&'static str, ApiError> {
    match role {
        "system" | "developer" => Ok("system"),
        "user" => Ok("user"),
        "assistant" => Ok("assistant"),
        other => Err(ApiError::parameter(
            format!("{name}.role"),
            format!(
                "Invalid value: '{other}'. Supported values are: 'system', 'developer', 'user' and 'assistant'."
            ),
        )),
    }
}

/// A text, whole or in parts.
fn take_text(name: &str, content: Value) -> Result<String, ApiError> {
    let wrong = || {
        ApiError::parameter(
            name,
            format!("Invalid value for '{name}': expected a text or a list of text parts"),
        )
    };
    let parts = match content {
        Value::String(text) => return Ok(text),
        Value::Array(parts) => parts,
        _ => return Err(wrong()),
    };
    let mut text = String::new();
    for part in parts {
        let part: Map<String, Value> = serde_json::from_value(part).map_err(|_| wrong())?;
        match part.get("type").and_then(Value::as_str) {
            Some("input_text" | "output_text" | "text") => {
                text.push_str(part.get("text").and_then(Value::as_str).ok_or_else(wrong)?);
            }
            Some(kind) => {
                return Err(ApiError::unsupported(
                    name,
                    &format!("this model reads text, not '{kind}' parts"),
                ));
            }
            None => return Err(wrong()),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_become_turns() {
        let input = json!([
            {"role": "developer", "content": "Be brief."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Time?"}]},
            {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [
                {"type": "output_text", "text": "I look.", "annotations": []}
            ]},
            {"type": "function_call", "call_id": "a", "name": "clock", "arguments": "{}"},
            {"type": "function_call", "call_id": "b", "name": "clock", "arguments": "{\"zone\": 1}"},
            {"type": "function_call_output", "call_id": "b", "output": "noon"},
        ]);
        let messages = take_input(input, Some("Rules.".into())).unwrap();
        let seen: Vec<(&str, &str, usize)> =
            messages.iter().map(|m| (m.role.as_str(), m.content.as_str(), m.tool_calls.len())).collect();
        assert_eq!(
            seen,
            [
                ("system", "Rules.", 0),
                ("system", "Be brief.", 0),
                ("user", "Time?", 0),
                ("assistant", "I look.", 2),
                ("tool", "noon", 0),
            ]
        );
    }

    #[test]
    fn what_is_no_turn_is_named() {
        for (input, param) in [
            (json!([]), "input"),
            (json!(3), "input"),
            (json!(["a"]), "input[0]"),
            (json!([{"role": "king", "content": "x"}]), "input[0].role"),
            (json!([{"role": "user", "content": [{"type": "input_image"}]}]), "input[0].content"),
            (json!([{"type": "reasoning", "summary": []}]), "input[0].type"),
            (json!([{"type": "function_call_output", "call_id": "a", "output": "x"}]), "input[0].call_id"),
            (json!([{"role": "user", "content": "x", "mood": 1}]), "input[0]"),
        ] {
            assert_eq!(
                take_input(input.clone(), None).unwrap_err().body()["error"]["param"],
                param,
                "{input}"
            );
        }
    }
}
