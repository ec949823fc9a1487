//! YAML with one scalar a line, so that each field has a line of its own.

use std::collections::BTreeMap;

use serde_yaml::Value;

/// A text, and the line of each path in it.
pub(crate) struct Emitted {
    pub(crate) text: String,
    pub(crate) lines: BTreeMap<String, usize>,
}

/// Writes a document. `quote` writes each scalar text.
pub(crate) fn emit(value: &Value, indent: usize, quote: &dyn Fn(&str) -> String) -> Emitted {
    let mut writer =
        Writer { out: Emitted { text: String::new(), lines: BTreeMap::new() }, line: 1, indent, quote };
    writer.write(value, 0, "");
    writer.out
}

struct Writer<'q> {
    out: Emitted,
    line: usize,
    indent: usize,
    quote: &'q dyn Fn(&str) -> String,
}

impl Writer<'_> {
    fn write(&mut self, value: &Value, depth: usize, path: &str) {
        let entries: Vec<(String, String, &Value)> = match value {
            Value::Mapping(map) => map
                .iter()
                .map(|(key, value)| {
                    let key = key.as_str().unwrap();
                    (key.to_owned(), format!("{}:", serde_json::Value::from(key)), value)
                })
                .collect(),
            Value::Sequence(items) => {
                items.iter().enumerate().map(|(at, item)| (at.to_string(), "-".to_owned(), item)).collect()
            }
            _ => Vec::new(),
        };
        for (key, head, child) in entries {
            let path = if path.is_empty() { key } else { format!("{path}.{key}") };
            self.out.lines.insert(path.clone(), self.line);
            self.out.text.push_str(&" ".repeat(self.indent * depth));
            self.out.text.push_str(&head);
            if let Some(scalar) = self.scalar(child) {
                self.out.text.extend([" ", scalar.as_str(), "\n"]);
                self.line += 1;
            } else {
                self.out.text.push('\n');
                self.line += 1;
                self.write(child, depth + 1, &path);
            }
        }
    }

    /// What stands on the line of its key: scalars and what is empty.
    fn scalar(&self, value: &Value) -> Option<String> {
        match value {
            Value::Mapping(map) if map.is_empty() => Some("{}".to_owned()),
            Value::Sequence(items) if items.is_empty() => Some("[]".to_owned()),
            Value::Mapping(_) | Value::Sequence(_) => None,
            Value::String(text) => Some((self.quote)(text)),
            other => Some(serde_json::to_string(other).unwrap()),
        }
    }
}

/// A text as JSON has it, which YAML reads.
pub(crate) fn double(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text in single quotes.
pub(crate) fn single(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
