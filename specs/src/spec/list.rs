//! Lists as the user writes them.

use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::json;

use super::codes::Code;
use super::decode::{Decode, wrong_type};
use super::session::Session;
use super::tree::{Node, Spot, Value};

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        let range = session.range.take();
        let Value::List(items) = &node.value else {
            no_list::<T>(node, session);
            return None;
        };
        let decoded: Vec<Option<T>> = items
            .iter()
            .map(|item| {
                session.range = range;
                T::decode(item, session)
            })
            .collect();
        if session.is_rough {
            return Some(decoded.into_iter().flatten().collect());
        }
        decoded.into_iter().collect()
    }

    fn stand_in(_spot: Spot) -> Option<Self> {
        Some(Vec::new())
    }
}

/// Says that a list is expected, and how this value would be one. What is wrong with a mapping as its only item is told too.
fn no_list<T: Decode>(node: &Node, session: &mut Session<'_>) {
    if matches!(node.value, Value::Map(_)) {
        wrong_type(node, "a list: `- ` in front of each item", session);
        T::decode(node, session);
        return;
    }
    let is_item = session.quietly(|session| T::decode(node, session)).is_some();
    let meant = node.text().filter(|_| is_item).map(|text| format!("[{text}]"));
    if let (Some(error), Some(_)) = (wrong_type(node, "a list such as [a, b]", session), &meant) {
        error.suggestion = meant;
    }
}

/// A list with at least one item.
#[derive(Debug, Clone)]
pub(crate) struct Filled<T>(pub(crate) Vec<T>);

impl<T> Deref for Filled<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Decode> Decode for Filled<T> {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        if matches!(&node.value, Value::List(items) if items.is_empty()) {
            session.range = None;
            session.error(Code::WrongType, node.spot, "this list is empty").expecting("at least one item");
            return None;
        }
        Vec::decode(node, session).map(Self)
    }

    fn stand_in(spot: Spot) -> Option<Self> {
        Vec::stand_in(spot).map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for Filled<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Filled{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Vec::<T>::json_schema(generator);
        schema.insert("minItems".to_owned(), json!(1));
        schema
    }
}
