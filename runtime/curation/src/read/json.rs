//! One JSON object to a document, without a tree of it: fields that nobody asked for are passed over.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::format::Fields;
use super::item::{Refusal, normalized};
use super::{Content, Limits, RawDocument, SkipReason};

/// Makes an object's bytes a document.
///
/// # Errors
/// It is no JSON object, is nested too deep, or has no text.
pub(super) fn document(json: &[u8], fields: &Fields, limits: &Limits) -> Result<RawDocument, Refusal> {
    let Ok(text) = std::str::from_utf8(json) else {
        return Err((SkipReason::InvalidUtf8, String::new()));
    };
    if depth(json) > limits.json_depth {
        return Err((SkipReason::JsonTooDeep, format!("more than {} levels", limits.json_depth)));
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    let found = Wanted(fields).deserialize(&mut parser).and_then(|found| parser.end().map(|()| found));
    let found = found.map_err(|error| (SkipReason::BadJson, error.to_string()))?;
    let Some(text) = found.text else {
        return Err((SkipReason::MissingText, format!("field `{}`", fields.text)));
    };
    let text = normalized(&text);
    if text.trim().is_empty() {
        return Err((SkipReason::Empty, String::new()));
    }
    Ok(RawDocument {
        index: 0,
        id: found.id,
        url: found.url,
        content: Content::Text(text),
        language: found.language,
        date: found.date,
        charset: "UTF-8",
        num_replaced: 0,
        truncated: false,
        bytes: json.len() as u64,
    })
}

/// The deepest nesting of arrays and objects. A word of text in braces does not count.
fn depth(json: &[u8]) -> u64 {
    let (mut deepest, mut depth, mut at) = (0_u64, 0_u64, 0);
    while let Some(found) = json.get(at..).and_then(next_mark) {
        at += found + 1;
        match json.get(at - 1) {
            Some(b'[' | b'{') => depth += 1,
            Some(b']' | b'}') => depth = depth.saturating_sub(1),
            _ => at = string_end(json, at),
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn next_mark(json: &[u8]) -> Option<usize> {
    json.iter().position(|byte| matches!(byte, b'"' | b'[' | b']' | b'{' | b'}'))
}

/// The place behind a string that began before `at`.
pub(super) fn string_end(json: &[u8], mut at: usize) -> usize {
    while let Some(found) = json.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if json.get(at - 1) == Some(&b'"') {
            return at;
        }
        at += 1;
    }
    json.len()
}

#[derive(Default)]
struct Found {
    text: Option<String>,
    url: Option<String>,
    id: Option<String>,
    language: Option<String>,
    date: Option<String>,
}

/// Reads the wanted fields of an object; of a field that is written twice the last counts, as in most parsers.
struct Wanted<'a>(&'a Fields);

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = Found::default();
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let name = name.as_ref();
            let slot = if name == self.0.text {
                &mut found.text
            } else if name == self.0.url {
                &mut found.url
            } else if name == self.0.id {
                &mut found.id
            } else if name == self.0.language {
                &mut found.language
            } else if name == self.0.date {
                &mut found.date
            } else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            *slot = map.next_value_seed(Scalar { numbers: name != self.0.text })?;
        }
        Ok(found)
    }
}

/// A string, or a number as one where an id may be a number; other values are `None`.
struct Scalar {
    numbers: bool,
}

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<String>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scalar {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<String>, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Option<String>, E> {
        Ok(Some(text))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Option<String>, E> {
        Ok(self.numbers.then(|| number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Option<String>, E> {
        Ok(self.numbers.then(|| number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Option<String>, E> {
        Ok(self.numbers.then(|| number.to_string()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<String>, E> {
        Ok(None)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Option<String>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<String>, A::Error> {
        // A number of more digits than a machine word comes as a map here; as an id it is of no use.
        while map.next_entry::<IgnoredAny, IgnoredAny>().map_err(A::Error::custom)?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<RawDocument, SkipReason> {
        document(json.as_bytes(), &Fields::default(), &Limits::default()).map_err(|refusal| refusal.0)
    }

    #[test]
    fn wanted_fields_are_found_among_others() {
        let json = r#"{"meta": {"text": [1, "}"]}, "id": 7, "text": "a \"b\"", "url": null, "date": "2024"}"#;
        let document = read(json).unwrap();
        assert_eq!(document.content, Content::Text("a \"b\"\n".into()));
        assert_eq!(
            (document.id.as_deref(), document.url, document.date.as_deref()),
            (Some("7"), None, Some("2024"))
        );
    }

    #[test]
    fn lines_that_are_no_documents_are_named() {
        assert_eq!(read("nonsense").unwrap_err(), SkipReason::BadJson);
        assert_eq!(read("[]").unwrap_err(), SkipReason::BadJson);
        assert_eq!(read(r#"{"text": "a"} x"#).unwrap_err(), SkipReason::BadJson);
        assert_eq!(read(r#"{"text": ["a"]}"#).unwrap_err(), SkipReason::MissingText);
        assert_eq!(read(r#"{"text": " "}"#).unwrap_err(), SkipReason::Empty);
        let deep = format!(r#"{{"x": {}1{}, "text": "a"}}"#, "[".repeat(100), "]".repeat(100));
        assert_eq!(read(&deep).unwrap_err(), SkipReason::JsonTooDeep);
        assert!(
            read(&format!(r#"{{"text": "{}"}}"#, "[".repeat(200))).is_ok(),
            "braces of the text count for nothing"
        );
    }
}
