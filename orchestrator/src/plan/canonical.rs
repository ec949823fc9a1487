//! Canonical JSON: the keys of every object sorted, so that the order of fields is no part of identity.
//!
//! One pass serialises with a control byte at each edge of an object, which no JSON text holds, and one pass sorts between them: a tree of
//! values in between would take three times as long, and a plan has very many steps.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

const OPEN: u8 = 1;
const KEY: u8 = 2;
const VALUE: u8 = 3;
const CLOSE: u8 = 4;

/// Appends a value as canonical JSON. Keys are in the order of their text.
pub(super) fn write_canonical(value: &impl Serialize, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let mut marked = Vec::with_capacity(1024);
    value.serialize(&mut Serializer::with_formatter(&mut marked, Marks))?;
    let rest = sort(&marked, out);
    debug_assert!(rest.is_empty());
    Ok(())
}

/// Writes JSON whose objects are told by marks.
struct Marks;

impl Formatter for Marks {
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(&[OPEN])
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, _first: bool) -> io::Result<()> {
        writer.write_all(&[KEY])
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(&[VALUE])
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(&[CLOSE])
    }
}

/// Where an entry stands in the output, its comma first.
struct Entry {
    start: usize,
    /// Behind the key's closing quote.
    key_end: usize,
    end: usize,
}

/// Copies up to the mark that ends the value, objects in it sorted; what is left.
fn sort<'m>(mut marked: &'m [u8], out: &mut Vec<u8>) -> &'m [u8] {
    loop {
        marked = copy_text(marked, out);
        match marked.split_first() {
            Some((&OPEN, entries)) => marked = sort_object(entries, out),
            _ => return marked,
        }
    }
}

/// Copies up to the next mark.
fn copy_text<'m>(marked: &'m [u8], out: &mut Vec<u8>) -> &'m [u8] {
    let text = marked.iter().position(|byte| *byte <= CLOSE).unwrap_or(marked.len());
    out.extend_from_slice(&marked[..text]);
    &marked[text..]
}

fn sort_object<'m>(mut marked: &'m [u8], out: &mut Vec<u8>) -> &'m [u8] {
    let begin = out.len();
    let mut entries = Vec::new();
    while let Some((&KEY, key)) = marked.split_first() {
        let start = out.len();
        out.push(b',');
        let value = copy_text(key, out);
        let key_end = out.len();
        out.push(b':');
        marked = sort(value.strip_prefix(&[VALUE]).unwrap_or(value), out);
        entries.push(Entry { start, key_end, end: out.len() });
    }
    // Without comma and quotes: a name may be the start of another one.
    let key = |bytes: &[u8], entry: &Entry| bytes[entry.start + 2..entry.key_end - 1].to_vec();
    if !entries.is_sorted_by(|a, b| out[a.start + 2..a.key_end - 1] <= out[b.start + 2..b.key_end - 1]) {
        let unsorted = out.clone();
        entries.sort_by_cached_key(|entry| key(&unsorted, entry));
        out.truncate(begin);
        for entry in &entries {
            out.extend_from_slice(&unsorted[entry.start..entry.end]);
        }
    }
    match out.get_mut(begin) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
    marked.strip_prefix(&[CLOSE]).unwrap_or(marked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn canonical(value: &impl Serialize) -> String {
        let mut bytes = Vec::new();
        write_canonical(value, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn keys_are_sorted_at_every_depth_and_values_stay() {
        let value = json!({
            "b": [1, {"z": null, "a": 1.0e21}, {}, {"y": {}, "x": [{}]}], "a": "\"\u{7}é{\u{1}", "c": {}, "d": [],
            "a b": 1, "a\u{1}": 2,
        });
        let sorted = concat!(
            r#"{"a":"\"\u0007é{\u0001","a b":1,"a\u0001":2,"b":[1,{"a":1e+21,"z":null},{},{"x":[{}],"y":{}}],"#,
            r#""c":{},"d":[]}"#
        );
        assert_eq!(canonical(&value), sorted);
        assert_eq!(canonical(&7), "7");
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((".{0,3}", inner), 0..6)
                    .prop_map(|entries| entries.into_iter().collect()),
            ]
        })
    }

    fn reversed(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                map.iter().rev().map(|(key, value)| (key.clone(), reversed(value))).collect()
            }
            Value::Array(items) => items.iter().map(reversed).collect(),
            scalar => scalar.clone(),
        }
    }

    proptest! {
        #[test]
        fn the_order_of_fields_alone_is_lost(value in values()) {
            let text = canonical(&value);
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value.clone());
            prop_assert_eq!(canonical(&reversed(&value)), text);
        }
    }
}
