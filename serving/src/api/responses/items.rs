//! The items of a response, and the events that tell them while they are made.

use serde_json::{Value, json};

use crate::answer::Delta;
use crate::api::random_u64;
use crate::tools::{Piece, WholeCall};

/// The items so far; the last one may be open.
#[derive(Debug, Default)]
pub(super) struct Items {
    list: Vec<Item>,
    is_open: bool,
    is_cut: bool,
}

#[derive(Debug)]
struct Item {
    id: String,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Message(String),
    Call(WholeCall),
}

impl Items {
    /// The items as the response has them.
    pub(super) fn values(&self) -> Value {
        self.list.iter().enumerate().map(|(at, item)| item.value(self.status(at))).collect()
    }

    /// Takes what is new of the answer, and tells it.
    pub(super) fn push(&mut self, delta: &Delta) -> Vec<Value> {
        let mut events = Vec::new();
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
        self.is_cut = matches!(finish, Some("length" | "content_filter"));
        self.end_open(&mut events);
        events
    }

    fn is_in_call(&self) -> bool {
        self.is_open && matches!(self.list.last(), Some(Item { content: Content::Call(_), .. }))
    }

    fn status(&self, at: usize) -> &'static str {
        let is_last = at + 1 == self.list.len();
        match (is_last && self.is_open, is_last && self.is_cut) {
            (true, _) => "in_progress",
            (_, true) => "incomplete",
            _ => "completed",
        }
    }

    fn add_text(&mut self, more: &str, events: &mut Vec<Value>) {
        if !matches!(self.list.last(), Some(Item { content: Content::Message(_), .. })) {
            self.open_message(events);
        }
        let index = self.list.len() - 1;
        if let Some(Item { id, content: Content::Message(text) }) = self.list.last_mut() {
            text.push_str(more);
            events.push(json!({
                "type": "response.output_text.delta", "item_id": id, "output_index": index, "content_index": 0, "delta": more, "logprobs": [],
            }));
        }
    }

    fn add_arguments(&mut self, more: &str, events: &mut Vec<Value>) {
        let index = self.list.len().saturating_sub(1);
        if let Some(Item { id, content: Content::Call(call) }) = self.list.last_mut() {
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
        let item = Item { id, content };
        let mut value = item.value("in_progress");
        if let Content::Message(_) = item.content {
            value["content"] = json!([]);
        }
        events.push(
            json!({"type": "response.output_item.added", "output_index": self.list.len(), "item": value}),
        );
        self.list.push(item);
        self.is_open = true;
    }

    fn end_open(&mut self, events: &mut Vec<Value>) {
        let index = self.list.len().saturating_sub(1);
        let Some(item) = self.list.last().filter(|_| self.is_open) else { return };
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
        let status = if self.is_cut { "incomplete" } else { "completed" };
        events.push(
            json!({"type": "response.output_item.done", "output_index": index, "item": item.value(status)}),
        );
        self.is_open = false;
    }
}

impl Item {
    fn value(&self, status: &str) -> Value {
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

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}
