//! `--set key=value`: values of the command line, put into the tree before anything is replaced or checked.

use std::path::Path;
use std::sync::Arc;

use super::codes::Code;
use super::session::Session;
use super::tree::{Key, Node, Spot, Value};
use super::yaml::parse_text;

/// Puts every override in its place, in order.
pub(crate) fn apply(root: &mut Node, overrides: &[(String, String)], session: &mut Session<'_>) {
    for (key, value) in overrides {
        let text = session.add_text(&format!("--set {key}"), Path::new(""), value);
        let spot = Spot { text, line: 1, column: 1, length: value.chars().count().max(1) as u32 };
        if key.split('.').any(str::is_empty) || key.split('.').count() > 32 {
            session
                .error(Code::BadOverride, spot, format!("`{key}` is not a field path"))
                .expecting("a path such as vars.depth or jobs.base.tokens");
            continue;
        }
        let Some(node) = parse_text(value, text, session) else { continue };
        let segments: Vec<&str> = key.split('.').collect();
        put(root, &segments, node, spot, session);
    }
}

/// Puts a node at a path; mappings on the way are made where they are missing.
fn put(at: &mut Node, segments: &[&str], node: Node, spot: Spot, session: &mut Session<'_>) {
    let Some((segment, rest)) = segments.split_first() else {
        *at = node;
        return;
    };
    if at.value == Value::Null {
        at.value = Value::map(Vec::new());
    }
    match &mut at.value {
        Value::Map(entries) => {
            if let Some(found) = entries.iter().position(|(key, _)| key.name == *segment) {
                let (key, value) = &mut Arc::make_mut(entries)[found];
                if rest.is_empty() {
                    key.spot = spot;
                }
                return put(value, rest, node, spot, session);
            }
            let mut value = Node::empty_map(spot);
            put(&mut value, rest, node, spot, session);
            at.push(Key { name: (*segment).to_owned(), spot }, value);
        }
        Value::List(items) => {
            let count = items.len();
            let item = segment.parse::<usize>().ok().filter(|index| *index < count);
            match item.map(|index| &mut Arc::make_mut(items)[index]) {
                Some(item) => put(item, rest, node, spot, session),
                None => {
                    session
                        .error(Code::BadOverride, spot, format!("`{segment}` is not an item of this list"))
                        .expecting(format!("an index below {count}"));
                }
            }
        }
        Value::Broken => {}
        Value::Scalar { .. } | Value::Null => {
            session
                .error(
                    Code::BadOverride,
                    spot,
                    format!("there is nothing to set `{segment}` in: it is a single value"),
                )
                .expecting("a path to a field");
        }
    }
}
