//! What differs between two sets of parameters.

use serde_json::Value;

/// Keys whose value says which of several forms a mapping has: another one makes it another thing as a whole.
const TAGS: [&str; 4] = ["step", "by", "rule", "suite"];

/// Leaves that differ: dotted path, old value, new value.
pub fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<(String, Value, Value)>) {
    if old == new {
        return;
    }
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (old, new) {
        (Value::Object(a), Value::Object(b))
            if !is_given(old) && TAGS.iter().all(|tag| a.get(*tag) == b.get(*tag)) =>
        {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                compare(&join(key), &of(a), &of(b), found);
            }
        }
        (Value::Array(a), Value::Array(b))
            if a.len() == b.len() && a.iter().chain(b).all(Value::is_object) =>
        {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&join(&index.to_string()), a, b, found);
            }
        }
        _ => found.push((path.to_owned(), plain(old), plain(new))),
    }
}

/// Whether this is a value where a rule might have chosen one: `{value: 8}` beside `auto`.
fn is_given(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.len() == 1 && map.contains_key("value"))
}

/// The value as the user writes it.
fn plain(value: &Value) -> Value {
    if is_given(value) { value["value"].clone() } else { value.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn differences(old: &Value, new: &Value) -> Vec<(String, Value, Value)> {
        let mut found = Vec::new();
        compare("", old, new, &mut found);
        found
    }

    #[test]
    fn leaves_differ_alone_and_other_forms_as_a_whole() {
        let old = json!({"batch": {"rows": {"value": 8}, "tokens": "auto"}, "tokens": {"by": "count", "tokens": 5}});
        let new = json!({"batch": {"rows": {"value": 9}, "tokens": {"value": 1}}, "tokens": {"by": "ratio", "ratio": 2}});
        let expected = [
            ("batch.rows".to_owned(), json!(8), json!(9)),
            ("batch.tokens".to_owned(), json!("auto"), json!(1)),
            ("tokens".to_owned(), json!({"by": "count", "tokens": 5}), json!({"by": "ratio", "ratio": 2})),
        ];
        assert_eq!(differences(&old, &new), expected);
        assert_eq!(differences(&json!([{"a": 1}, {"a": 2}]), &json!([{"a": 1}, {"a": 3}]))[0].0, "1.a");
        assert_eq!(differences(&json!({"l": [1]}), &json!({"l": [1, 2]}))[0].0, "l");
        assert!(differences(&old, &old).is_empty());
    }
}
