//! Evaluation files as people publish them, read by the keys of a line.
//!
//! A shape is known by its keys alone, so that a file needs no declaration. What has no known shape is an error that names its keys:
//! an evaluation that is left out silently is a leak that nobody looks for.

use serde_json::Value;

use super::item::EvalItem;
use super::shape_fields::text;
use super::shape_readers::READERS;

/// A line that holds no question as far as we can tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Not an object.
    #[error("{benchmark} {id}: expected a JSON object, got {got}")]
    NotAnObject {
        /// The benchmark.
        benchmark: String,
        /// The item.
        id: String,
        /// What it is instead.
        got: &'static str,
    },
    /// Keys of no known shape.
    #[error(
        "{benchmark} {id}: no known shape of a question has the keys {keys}; rename them to question, answer, choices and passage"
    )]
    UnknownShape {
        /// The benchmark.
        benchmark: String,
        /// The item.
        id: String,
        /// The keys that were found.
        keys: String,
    },
    /// A known shape without text in its question.
    #[error("{benchmark} {id}: {field} has no text")]
    NoText {
        /// The benchmark.
        benchmark: String,
        /// The item.
        id: String,
        /// The field.
        field: &'static str,
    },
}

/// The items of one line of an evaluation file; most lines hold one, a line of tasks with several instances holds more.
///
/// `id` is used where the line has no id of its own (`id`, `task_id`, `pairID`, `native_id`).
pub fn items_of(benchmark: &str, id: &str, line: &Value) -> Result<Vec<EvalItem>, ShapeError> {
    let Value::Object(object) = line else {
        return Err(ShapeError::NotAnObject { benchmark: benchmark.into(), id: id.into(), got: kind(line) });
    };
    // Requests of a harness carry the question in `doc`.
    let inner = match object.get("doc") {
        Some(Value::Object(doc)) => doc,
        _ => object,
    };
    let id = ["id", "task_id", "pairID", "native_id"]
        .iter()
        .find_map(|key| text(object, key))
        .unwrap_or_else(|| id.into());
    let Some(mut items) = READERS.iter().find_map(|read| read(inner)) else {
        let keys: Vec<&str> = inner.keys().map(String::as_str).collect();
        let keys = if keys.is_empty() { "(none)".to_owned() } else { keys.join(", ") };
        return Err(ShapeError::UnknownShape { benchmark: benchmark.into(), id, keys });
    };
    items.retain(|item| !item.question.trim().is_empty() || !item.passage.trim().is_empty());
    if items.is_empty() {
        return Err(ShapeError::NoText { benchmark: benchmark.into(), id, field: "the question" });
    }
    let several = items.len() > 1;
    for (at, item) in items.iter_mut().enumerate() {
        benchmark.clone_into(&mut item.benchmark);
        item.id = if several { format!("{id}#{at}") } else { id.clone() };
    }
    Ok(items)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
#[path = "shapes_tests.rs"]
mod tests;
