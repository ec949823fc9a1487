//! Formats of strings, as narrow as those who check answers take them: llguidance lets pass a 29th of February of any year, a leap second at noon
//! and a host name that is too long, and an answer that ends has to validate.

use serde_json::{Map, Value, json};

use super::schema_work::{Holds, holds};

/// Days that are in the calendar (RFC 3339).
const DATE: &str = concat!(
    r"(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))",
    r"|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)",
);
/// Times of a day without leap seconds, of which few are any.
const TIME: &str = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:[zZ]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
/// A label of a host name without two hyphens side by side, which in some places mean something else.
const LABEL: &str = r"[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*";
/// Longest host name and longest part of an address before its `@` (RFC 1035, RFC 5321).
const MOST_HOST: usize = 253;
const MOST_LOCAL: usize = 64;

/// What is asked of a format beside what llguidance asks: a pattern, and a largest length.
fn narrower(format: &str) -> Option<(String, Option<usize>)> {
    let host = format!(r"{LABEL}(?:\.{LABEL})*");
    Some(match format {
        "date" => (DATE.to_owned(), None),
        "time" => (TIME.to_owned(), None),
        "date-time" => (format!("{DATE}[tT]{TIME}"), None),
        "hostname" => (host, Some(MOST_HOST)),
        "email" => (format!(r"[^@]{{1,{MOST_LOCAL}}}@{host}"), Some(MOST_HOST)),
        _ => return None,
    })
}

/// Adds to each part of a schema that names a format what makes it narrow enough.
pub(super) fn narrow_formats(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some((pattern, most)) = fields.get("format").and_then(Value::as_str).and_then(narrower) {
                add(fields, &pattern, most);
            }
            for (key, value) in fields.iter_mut() {
                match (holds(key), value) {
                    (Holds::Data, _) => {}
                    (Holds::Named, Value::Object(named)) => named.values_mut().for_each(narrow_formats),
                    (_, value) => narrow_formats(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(narrow_formats),
        _ => {}
    }
}

fn add(fields: &mut Map<String, Value>, pattern: &str, most: Option<usize>) {
    let mut part = json!({"pattern": format!("^(?:{pattern})$")});
    if let Some(most) = most {
        part["maxLength"] = json!(most);
    }
    // What is no list is no schema: whoever compiles it says so.
    if let Value::Array(parts) = fields.entry("allOf").or_insert_with(|| json!([])) {
        parts.push(part);
    }
}
