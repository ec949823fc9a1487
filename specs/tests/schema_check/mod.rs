//! As much of JSON Schema as the language's own schema uses: types, properties, alternatives, conditions, words and references.

use serde_json::Value;

/// What is wrong with a value, each with its path.
pub(crate) fn check(root: &Value, value: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    visit(root, root, value, "", &mut problems);
    problems
}

fn visit(root: &Value, schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str().and_then(|text| text.strip_prefix("#/$defs/")) {
        match root["$defs"].get(name) {
            Some(target) => visit(root, target, value, path, problems),
            None => problems.push(format!("{path}: no definition {name}")),
        }
    }
    for (key, wants_one) in [("anyOf", false), ("oneOf", true)] {
        if let Some(list) = schema[key].as_array() {
            let fits = list.iter().filter(|inner| fits(root, inner, value)).count();
            if fits == 0 || wants_one && fits > 1 {
                problems.push(format!("{path}: {fits} of {} alternatives fit {value}", list.len()));
            }
        }
    }
    if schema["if"].is_object() {
        let branch = if fits(root, &schema["if"], value) { "then" } else { "else" };
        if schema[branch].is_object() {
            visit(root, &schema[branch], value, path, problems);
        }
    }
    if schema.get("const").is_some_and(|word| word != value) {
        problems.push(format!("{path}: not {}", schema["const"]));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        problems.push(format!("{path}: not one of {}", schema["enum"]));
    }
    check_type(schema, value, path, problems);
    if schema["pattern"].is_string() && !value.as_str().is_some_and(|text| text.contains("${")) {
        problems.push(format!("{path}: not a placeholder"));
    }
    check_children(root, schema, value, path, problems);
}

fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    let mut problems = Vec::new();
    visit(root, schema, value, "", &mut problems);
    problems.is_empty()
}

fn check_type(schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
    let names: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let is = |name: &&str| match *name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => false,
    };
    if !names.iter().any(is) {
        problems.push(format!("{path}: {value} is not {names:?}"));
    }
}

fn check_children(root: &Value, schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
    let least = schema["minItems"].as_u64().unwrap_or(0) as usize;
    if value.as_array().is_some_and(|items| items.len() < least) {
        problems.push(format!("{path}: fewer than {least} items"));
    }
    for item in value.as_array().into_iter().flatten() {
        if schema["items"].is_object() {
            visit(root, &schema["items"], item, path, problems);
        }
    }
    let Some(object) = value.as_object() else { return };
    for (key, child) in object {
        let path = format!("{path}.{key}");
        match (schema["properties"].get(key), &schema["additionalProperties"]) {
            (Some(field), _) => visit(root, field, child, &path, problems),
            (None, Value::Bool(false)) => problems.push(format!("{path}: no such key")),
            (None, other) if other.is_object() => visit(root, other, child, &path, problems),
            _ => {}
        }
    }
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(key) {
            problems.push(format!("{path}: lacks {key}"));
        }
    }
}
