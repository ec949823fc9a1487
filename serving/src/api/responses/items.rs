//! The items of a response, and the events that tell them while they are made.

use serde_json::{Map, Value, json};

use crate::answer::Delta;
use crate::api::random_u64;
use crate::tools::{Piece, WholeCall};

/// The items so far; the last one may be open.
#[derive(Debug, Default)]
pub(super) struct Items {
    list: Vec<Item>,
    /// Whether the answer does not go on where it was.
    is_cut: bool,
}

#[derive(Debug)]
struct Item {
    id: String,
    content: Content,
    status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    InProgress,
    Completed,
    Incomplete,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
        }
    }
}

#[derive(Debug)]
enum Content {
    Message(String),
    Call(WholeCall),
}

impl Items {
    /// The items as the response has them.
    pub(super) fn values(&self) -> Value {
        self.list.iter().map(Item::value).collect()
    }

    /// Takes what is new of the answer, and tells it.
    pub(super) fn push(&mut self, delta: &Delta) -> Vec<Value> {
        let mut events = Vec::new();
        self.is_cut = is_cut(delta.finish);
        // The end of a call that was begun before comes before the text behind it.
        let is_rest = |piece: &&Piece| matches!(piece, Piece::Arguments { .. });
        let rest = if self.is_in_call() { delta.calls.iter().take_while(is_rest).count() } else { 0 };
        let (rest, calls) = delta.calls.split_at(rest);
        for piece in rest {
            if let Piece::Arguments { text, .. } = piece {
                self.add_arguments(text, &mut events);
            }
        }
        if !delta.text.is_empty() {
            self.add_text(&delta.text, &mut events);
        }
        for piece in calls {
            match piece {
                Piece::Text(text) => self.add_text(text, &mut events),
                Piece::Call { id, name, .. } => {
                    let (id, name) = (id.clone(), name.clone());
                    let call = WholeCall { id, name, arguments: String::new() };
                    self.open(format!("fc_{:016x}", random_u64()), Content::Call(call), &mut events);
                }
                Piece::Arguments { text, .. } => self.add_arguments(text, &mut events),
            }
        }
        events
    }

    /// Ends the answer. One that says nothing has an empty message.
    pub(super) fn close(&mut self, finish: Option<&str>) -> Vec<Value> {
        let mut events = Vec::new();
        if self.list.is_empty() {
            self.open_message(&mut events);
        }
        self.is_cut = is_cut(finish);
        self.end_open(&mut events);
        events
    }

    fn is_in_call(&self) -> bool {
        let open = self.list.last().filter(|item| item.status == Status::InProgress);
        open.is_some_and(|item| matches!(item.content, Content::Call(_)))
    }

    fn add_text(&mut self, more: &str, events: &mut Vec<Value>) {
        if !matches!(self.list.last(), Some(Item { content: Content::Message(_), .. })) {
            self.open_message(events);
        }
        let index = self.list.len() - 1;
        if let Some(Item { id, content: Content::Message(text), .. }) = self.list.last_mut() {
            text.push_str(more);
            events.push(json!({
                "type": "response.output_text.delta", "item_id": id, "output_index": index, "content_index": 0, "delta": more, "logprobs": [],
            }));
        }
    }

    fn add_arguments(&mut self, more: &str, events: &mut Vec<Value>) {
        let index = self.list.len().saturating_sub(1);
        if let Some(Item { id, content: Content::Call(call), .. }) = self.list.last_mut() {
            call.arguments.push_str(more);
            events.push(json!({
                "type": "response.function_call_arguments.delta", "item_id": id, "output_index": index, "delta": more,
            }));
        }
    }

    fn open_message(&mut self, events: &mut Vec<Value>) {
        let id = format!("msg_{:016x}", random_u64());
        self.open(id.clone(), Content::Message(String::new()), events);
        events.push(json!({
            "type": "response.content_part.added", "item_id": id, "output_index": self.list.len() - 1, "content_index": 0, "part": part(""),
        }));
    }

    fn open(&mut self, id: String, content: Content, events: &mut Vec<Value>) {
        self.end_open(events);
        let item = Item { id, content, status: Status::InProgress };
        let mut value = item.value();
        if let Content::Message(_) = item.content {
            value["content"] = json!([]);
        }
        events.push(
            json!({"type": "response.output_item.added", "output_index": self.list.len(), "item": value}),
        );
        self.list.push(item);
    }

    fn end_open(&mut self, events: &mut Vec<Value>) {
        let index = self.list.len().saturating_sub(1);
        let open = |item: &&mut Item| item.status == Status::InProgress;
        let Some(item) = self.list.last_mut().filter(open) else { return };
        item.status = if self.is_cut && !item.is_whole() { Status::Incomplete } else { Status::Completed };
        let id = &item.id;
        match &item.content {
            Content::Message(text) => {
                events.push(json!({
                    "type": "response.output_text.done", "item_id": id, "output_index": index, "content_index": 0, "text": text, "logprobs": [],
                }));
                events.push(json!({
                    "type": "response.content_part.done", "item_id": id, "output_index": index, "content_index": 0, "part": part(text),
                }));
            }
            Content::Call(call) => events.push(json!({
                "type": "response.function_call_arguments.done", "item_id": id, "output_index": index, "name": call.name,
                "arguments": call.arguments,
            })),
        }
        events
            .push(json!({"type": "response.output_item.done", "output_index": index, "item": item.value()}));
    }
}

impl Item {
    /// Whether it lacks nothing though the answer was cut: a call whose arguments came to their end.
    fn is_whole(&self) -> bool {
        match &self.content {
            Content::Message(_) => false,
            Content::Call(call) => serde_json::from_str::<Map<String, Value>>(&call.arguments).is_ok(),
        }
    }

    fn value(&self) -> Value {
        let status = self.status.word();
        match &self.content {
            Content::Message(text) => json!({
                "id": self.id, "type": "message", "status": status, "role": "assistant", "content": [part(text)],
            }),
            Content::Call(call) => json!({
                "id": self.id, "type": "function_call", "status": status, "call_id": call.id, "name": call.name,
                "arguments": call.arguments,
            }),
        }
    }
}

/// Whether an answer that ends so was not at its end.
fn is_cut(finish: Option<&str>) -> bool {
    matches!(finish, Some("length" | "content_filter"))
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statuses(items: &Items) -> Vec<String> {
        let values = items.values();
        values.as_array().unwrap().iter().map(|item| item["status"].as_str().unwrap().to_owned()).collect()
    }

    fn call(arguments: &str) -> Delta {
        let call = Piece::Call { index: 0, id: "call_1".into(), name: "f".into() };
        Delta { calls: vec![call, Piece::Arguments { index: 0, text: arguments.into() }], ..Delta::default() }
    }

    #[test]
    fn a_call_that_a_refusal_or_the_limit_cuts_is_incomplete_and_a_whole_one_is_not() {
        for (arguments, finish, is_told, statuses_then) in [
            (r#"{"a": "#, "content_filter", true, &["incomplete", "incomplete"][..]),
            (r#"{"a": 1}"#, "content_filter", true, &["completed", "incomplete"]),
            (r#"{"a": "#, "length", false, &["incomplete"]),
            (r#"{"a": 1}"#, "length", false, &["completed"]),
            (r#"{"a": 1}"#, "tool_calls", false, &["completed"]),
        ] {
            let mut items = Items::default();
            items.push(&call(arguments));
            let text = if is_told { "No." } else { "" };
            let last = Delta { text: text.into(), finish: Some(finish), ..Delta::default() };
            let mut events = items.push(&last);
            events.extend(items.close(Some(finish)));
            assert_eq!(statuses(&items), statuses_then, "{arguments} {finish}");
            let done = events.iter().filter(|event| event["type"] == "response.output_item.done");
            let told: Vec<&str> = done.map(|event| event["item"]["status"].as_str().unwrap()).collect();
            assert_eq!(told, statuses_then, "the events say what the items say");
        }
    }
}
