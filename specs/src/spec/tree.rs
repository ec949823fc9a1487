//! The tree between YAML text and typed values: every node knows where it is written.
//!
//! Collections are shared: an alias, a matrix job and a merge cost no copy, and a change copies only the way to what it changes.

use std::sync::Arc;

/// A place in one of the loaded texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Spot {
    /// Index into the session's texts.
    pub(crate) text: u32,
    /// Line, from 1.
    pub(crate) line: u32,
    /// Column in characters, from 1.
    pub(crate) column: u32,
    /// Length of the token in characters.
    pub(crate) length: u32,
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// The value.
    pub(crate) value: Value,
    /// Its place.
    pub(crate) spot: Spot,
}

/// YAML's values; scalars stay text until a field says what they are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// A value whose placeholder failed; the error is recorded.
    Broken,
    /// A scalar. `plain` ones may be numbers and booleans, quoted ones are text.
    Scalar { text: String, plain: bool },
    /// A sequence.
    List(Arc<[Node]>),
    /// A mapping in the order of the text, keys once.
    Map(Arc<[(Key, Node)]>),
}

impl Value {
    /// A sequence.
    pub(crate) fn list(items: Vec<Node>) -> Self {
        Self::List(items.into())
    }

    /// A mapping; its keys are different.
    pub(crate) fn map(entries: Vec<(Key, Node)>) -> Self {
        Self::Map(entries.into())
    }
}

/// A key and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    /// The key.
    pub(crate) name: String,
    /// Its place.
    pub(crate) spot: Spot,
}

impl Node {
    /// A plain scalar as YAML's core schema reads it: `null` and its kin are [`Value::Null`].
    pub(crate) fn plain(text: &str, spot: Spot) -> Self {
        let value = match text {
            "" | "~" | "null" | "Null" | "NULL" => Value::Null,
            _ => Value::Scalar { text: text.to_owned(), plain: true },
        };
        Self { value, spot }
    }

    /// An empty mapping.
    pub(crate) fn empty_map(spot: Spot) -> Self {
        Self { value: Value::map(Vec::new()), spot }
    }

    /// The value of a key, where this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(k, _)| k.name == key).map(|(_, node)| node)
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Map(entries) => {
                let at = entries.iter().position(|(k, _)| k.name == key)?;
                Some(&mut Arc::make_mut(entries)[at].1)
            }
            _ => None,
        }
    }

    /// Takes a key out of a mapping.
    pub(crate) fn remove(&mut self, key: &str) -> Option<(Key, Node)> {
        match &mut self.value {
            Value::Map(entries) => {
                let at = entries.iter().position(|(k, _)| k.name == key)?;
                let mut rest = entries.to_vec();
                let taken = rest.remove(at);
                *entries = rest.into();
                Some(taken)
            }
            _ => None,
        }
    }

    /// Adds a key that a mapping does not have.
    pub(crate) fn push(&mut self, key: Key, node: Node) {
        if let Value::Map(entries) = &mut self.value {
            *entries = entries.iter().cloned().chain([(key, node)]).collect();
        }
    }

    /// The entries of a mapping; none for anything else.
    pub(crate) fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Whether something in it is broken, and reported.
    pub(crate) fn is_broken(&self) -> bool {
        self.value == Value::Broken
            || self.entries().iter().any(|(_, value)| value.is_broken())
            || self.items().iter().any(Self::is_broken)
    }

    /// The items of a list; none for anything else.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// What it is, in words of messages.
    pub(crate) fn shape(&self) -> &'static str {
        match &self.value {
            Value::Null | Value::Broken => "null",
            Value::Scalar { text, plain: true } if text.parse::<f64>().is_ok() => "a number",
            Value::Scalar { text, plain: true } if matches!(text.as_str(), "true" | "false") => "a boolean",
            Value::Scalar { .. } => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// Calls `visit` with every node's field path and place, parents first.
    pub(crate) fn walk(&self, path: &mut String, visit: &mut dyn FnMut(&str, Spot)) {
        let length = path.len();
        for (key, node) in self.entries() {
            push_segment(path, &key.name);
            visit(path, key.spot);
            node.walk(path, visit);
            path.truncate(length);
        }
        for (index, node) in self.items().iter().enumerate() {
            push_segment(path, &index.to_string());
            visit(path, node.spot);
            node.walk(path, visit);
            path.truncate(length);
        }
    }
}

/// Adds `.segment` to a field path.
fn push_segment(path: &mut String, segment: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(segment);
}
