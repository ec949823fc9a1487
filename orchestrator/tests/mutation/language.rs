//! The leaves of the language, from its schema, and where the specs write them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use serde_yaml::Value;

/// A leaf: `pretrain.phases[].until`, `defaults.seed`; with the words that it may be, and whether it is true or false.
#[derive(Debug, Default, Clone)]
pub(crate) struct Leaf {
    pub(crate) words: BTreeSet<String>,
    pub(crate) is_path: bool,
}

/// Every leaf of the language by pattern.
pub(crate) fn leaves() -> BTreeMap<String, Leaf> {
    let schema = cupola_specs::spec::schema();
    let mut found = BTreeMap::new();
    walk(&schema, &schema, "", &mut found);
    found
}

fn walk(schema: &Json, node: &Json, path: &str, found: &mut BTreeMap<String, Leaf>) {
    if let Some(name) = node["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return walk(schema, &schema["$defs"][name], path, found);
    }
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let mut is_leaf = true;
    for choices in ["anyOf", "oneOf", "allOf"] {
        for choice in node[choices].as_array().into_iter().flatten() {
            is_leaf = false;
            let kind = choice["properties"]["kind"]["const"].as_str();
            walk(schema, choice, kind.filter(|_| path == "jobs.*").unwrap_or(path), found);
        }
    }
    for (key, value) in node["properties"].as_object().into_iter().flatten() {
        is_leaf = false;
        walk(schema, value, &join(key), found);
    }
    if node["additionalProperties"].is_object() {
        is_leaf = false;
        walk(schema, &node["additionalProperties"], &join("*"), found);
    }
    if node["items"].is_object() {
        is_leaf = false;
        walk(schema, &node["items"], &format!("{path}[]"), found);
    }
    if is_leaf && node["type"] != "null" {
        let leaf = found.entry(path.to_owned()).or_default();
        let words = node["enum"].as_array().into_iter().flatten().chain(node.get("const"));
        leaf.words.extend(words.filter_map(Json::as_str).map(str::to_owned));
        leaf.is_path |= node["x-unit"] == "a path or a glob";
    }
}

/// Every scalar of a document: its path, and the pattern of its leaf.
pub(crate) fn scalars(document: &Value, leaves: &BTreeMap<String, Leaf>) -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    collect(document, &mut Vec::new(), &mut found);
    found
        .into_iter()
        .map(|path| {
            let pattern = pattern_of(document, &path, leaves);
            (path, pattern)
        })
        .collect()
}

fn collect(node: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let children: Vec<(String, &Value)> = match node {
        Value::Mapping(map) => {
            map.iter().map(|(key, value)| (key.as_str().unwrap().to_owned(), value)).collect()
        }
        Value::Sequence(items) => items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect(),
        _ => return found.push(path.clone()),
    };
    for (key, child) in children {
        path.push(key);
        collect(child, path, found);
        path.pop();
    }
}

fn pattern_of(document: &Value, path: &[String], leaves: &BTreeMap<String, Leaf>) -> String {
    let (start, rest) = match path {
        [jobs, job, rest @ ..] if jobs == "jobs" => (document["jobs"][job]["kind"].as_str().unwrap(), rest),
        [first, rest @ ..] => (first.as_str(), rest),
        [] => unreachable!("a document is no scalar"),
    };
    let mut open = vec![start.to_owned()];
    for key in rest {
        let is_index = key.bytes().all(|byte| byte.is_ascii_digit());
        let is_known = |pattern: &String| {
            leaves.keys().any(|leaf| {
                leaf.strip_prefix(pattern.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            })
        };
        open = open
            .iter()
            .flat_map(|pattern| match is_index {
                // An axis of a matrix has values of any kind.
                true if pattern.ends_with(".matrix.*") => vec![pattern.clone()],
                true => vec![format!("{pattern}[]")],
                false => vec![format!("{pattern}.{key}"), format!("{pattern}.*")],
            })
            .filter(is_known)
            .collect();
    }
    let fits = open.into_iter().find(|pattern| leaves.contains_key(pattern));
    fits.unwrap_or_else(|| panic!("{} is no leaf of the schema", path.join(".")))
}

/// The node at a path.
pub(crate) fn at<'d>(document: &'d mut Value, path: &[String]) -> &'d mut Value {
    path.iter().fold(document, |node, key| match node {
        Value::Sequence(items) => &mut items[key.parse::<usize>().unwrap()],
        other => &mut other[key.as_str()],
    })
}

/// Other values that may stand for a value: of the same form, the words of the leaf, and names and files of the spec.
pub(crate) fn others(value: &Value, leaf: &Leaf, names: &[String]) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    match value {
        Value::Bool(is) => found.push(Value::Bool(!is)),
        Value::Number(number) => {
            if let Some(whole) = number.as_u64() {
                found.extend([whole * 2, whole + 1, whole / 2, whole.saturating_sub(1)].map(Value::from));
            }
            let number = number.as_f64().unwrap();
            found.extend([number * 0.5, number * 2.0, number + 0.25].map(Value::from));
        }
        Value::String(text) => found.extend(other_texts(text, leaf, names).into_iter().map(Value::from)),
        _ => {}
    }
    found.extend(leaf.words.iter().map(|word| Value::from(word.as_str())));
    found.push(Value::Null);
    found.retain(|other| other != value);
    found
}

fn other_texts(text: &str, leaf: &Leaf, names: &[String]) -> Vec<String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    if let Ok(number) = digits.parse::<f64>()
        && (!unit.contains(' ') || unit == " steps")
    {
        return [2.0, 0.5, 1.5].map(|factor| format!("{}{unit}", number * factor)).into();
    }
    if leaf.is_path || text.starts_with("./") {
        let swapped = [("/a.", "/b."), ("/b.", "/a."), ("_a", "_b"), ("same", "other")];
        return swapped
            .iter()
            .filter(|(a, _)| text.contains(a))
            .map(|(a, b)| text.replacen(a, b, 1))
            .collect();
    }
    let mut found = names.to_vec();
    let words = ["de", "gpt2", "<|b|>", "127.0.0.1:9999", "UTC", "0 3 * * *", "${secret.OTHER}"];
    found.extend(words.map(str::to_owned));
    found.push(format!("{text} more"));
    found.push(format!("{text}x"));
    found
}
