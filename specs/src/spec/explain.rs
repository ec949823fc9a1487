//! `cupola explain`: what a field or a code means, from the schema that checks it.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::codes::Code;
use super::examples::example;
use super::resolved::JobKind;
use super::schema::schema;

/// What is known about a field or a code.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The field path or the code.
    pub path: String,
    /// Its doc line.
    pub description: String,
    /// Its type in words; empty for a code.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its units; none where it has none.
    pub unit: Option<String>,
    /// Its range; none where it has none.
    pub range: Option<String>,
    /// Its default as YAML; none where it must be written or is off without it.
    pub default: Option<String>,
    /// Whether it must be written.
    pub is_required: bool,
    /// An example as YAML.
    pub example: Option<String>,
    /// The fields of a mapping with their doc lines.
    pub fields: Vec<(String, String)>,
    /// Of a code: a spec that gives it.
    pub bad: Option<String>,
    /// Of a code: the same spec, mended.
    pub good: Option<String>,
}

/// Everything that can be explained, each with its first words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    /// The keys at the top of a spec.
    pub keys: Vec<(String, String)>,
    /// The kinds of jobs.
    pub kinds: Vec<(String, String)>,
    /// The codes of diagnostics.
    pub codes: Vec<(String, String)>,
}

/// The keys of the top, the kinds of jobs and the codes of diagnostics.
pub fn overview() -> Overview {
    let root = schema();
    let doc = |schema: &Value| schema["description"].as_str().unwrap_or_default().to_owned();
    let keys = root["properties"].as_object().into_iter().flatten();
    let kinds = root["properties"]["jobs"]["additionalProperties"]["oneOf"].as_array();
    Overview {
        keys: keys.map(|(key, schema)| (key.clone(), doc(deref(&root, schema)))).collect(),
        kinds: JobKind::ALL
            .iter()
            .zip(kinds.into_iter().flatten())
            .map(|(kind, schema)| (kind.as_str().to_owned(), doc(schema)))
            .collect(),
        codes: Code::ALL.iter().map(|code| (code.as_str().to_owned(), code.meaning().to_owned())).collect(),
    }
}

impl fmt::Display for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sections = [
            ("Keys at the top of a spec", &self.keys),
            ("Kinds of jobs", &self.kinds),
            ("Codes of diagnostics", &self.codes),
        ];
        for (title, entries) in sections {
            writeln!(f, "{title}:")?;
            let width = entries.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            for (name, doc) in entries {
                writeln!(f, "  {name:width$}  {doc}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "`cupola explain PATH` explains one of them, or a field such as pretrain.optimizer.lr.")
    }
}

/// Explains a code (`E0301`), a kind (`pretrain`), or a field: `pretrain.tokens`, `jobs.pretrain.optimizer.lr`, `budget.hours`.
pub fn explain(path: &str) -> Option<Explanation> {
    if let Some(code) = Code::parse(path) {
        return Some(of_code(code));
    }
    let root = schema();
    let mut segments: Vec<&str> = path.split('.').filter(|segment| !segment.is_empty()).collect();
    if segments.first() == Some(&"jobs") && segments.len() > 1 {
        segments.remove(0);
    }
    let (first, rest) = segments.split_first()?;
    let job = JobKind::ALL.iter().position(|kind| kind.as_str() == *first);
    let (start, is_required) = match job {
        Some(index) => (root["properties"]["jobs"]["additionalProperties"]["oneOf"].get(index)?, false),
        None => field(&root, &root, first)?,
    };
    let (mut at, mut is_required) = (start, is_required);
    for segment in rest {
        if segment.parse::<usize>().is_ok() {
            continue;
        }
        (at, is_required) = field(&root, at, segment)?;
    }
    Some(of_schema(&root, at, path, is_required))
}

/// Every path that [`explain`] knows at the top: keys of a spec and kinds of jobs.
pub fn explained_paths() -> Vec<String> {
    let root = schema();
    let keys = root["properties"].as_object().into_iter().flatten().map(|(key, _)| key.clone());
    keys.chain(JobKind::ALL.iter().map(|kind| kind.as_str().to_owned())).collect()
}

/// A code with its meaning and advice.
fn of_code(code: Code) -> Explanation {
    Explanation {
        path: code.as_str().to_owned(),
        description: format!("{} {}", code.meaning(), code.advice()),
        type_name: String::new(),
        unit: None,
        range: None,
        default: None,
        is_required: false,
        example: None,
        fields: Vec::new(),
        bad: example(code).map(|example| example.bad.to_owned()),
        good: example(code).map(|example| example.good.to_owned()),
    }
}

/// Follows `$ref`.
fn deref<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let name = schema["$ref"].as_str().and_then(|text| text.strip_prefix("#/$defs/"));
    name.and_then(|name| root["$defs"].get(name)).unwrap_or(schema)
}

/// The alternatives of a schema, itself first.
fn alternatives<'s>(root: &'s Value, schema: &'s Value) -> Vec<&'s Value> {
    let schema = deref(root, schema);
    let mut out = vec![schema];
    for key in ["anyOf", "oneOf"] {
        for inner in schema[key].as_array().into_iter().flatten() {
            out.extend(alternatives(root, inner));
        }
    }
    if schema["items"].is_object() {
        out.extend(alternatives(root, &schema["items"]));
    }
    out
}

/// A field of a mapping, within its alternatives and list items; any key of a mapping whose keys the user chooses.
fn field<'s>(root: &'s Value, schema: &'s Value, name: &str) -> Option<(&'s Value, bool)> {
    let all = alternatives(root, schema);
    for schema in &all {
        if let Some(found) = schema["properties"].get(name) {
            let required = schema["required"].as_array().is_some_and(|all| all.iter().any(|key| key == name));
            return Some((found, required));
        }
    }
    all.iter()
        .find(|schema| schema["additionalProperties"].is_object())
        .map(|schema| (&schema["additionalProperties"], false))
}

/// The explanation of a field.
fn of_schema(root: &Value, schema: &Value, path: &str, is_required: bool) -> Explanation {
    let all = alternatives(root, schema);
    let note = |key: &str| {
        std::iter::once(&schema)
            .chain(&all)
            .find_map(|schema| schema.get(key).filter(|value| !value.is_null()))
            .cloned()
    };
    let text = |key: &str| note(key).and_then(|value| value.as_str().map(str::to_owned));
    let mut fields: Vec<(String, String)> = Vec::new();
    for schema in &all {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            if !fields.iter().any(|(known, _)| known == name) {
                let doc = field["description"].as_str().unwrap_or_default();
                fields.push((name.clone(), doc.to_owned()));
            }
        }
    }
    Explanation {
        path: path.to_owned(),
        description: text("description").unwrap_or_default(),
        type_name: type_words(&all),
        unit: text("x-unit"),
        range: text("x-range"),
        default: schema.get("default").map(yaml_word),
        is_required,
        example: note("examples").and_then(|examples| examples.get(0).map(yaml_word)),
        fields,
        bad: None,
        good: None,
    }
}

/// The type in words: every alternative once, placeholders left out.
fn type_words(all: &[&Value]) -> String {
    let mut words: Vec<String> = Vec::new();
    for schema in all {
        if schema.get("pattern").is_some() {
            continue;
        }
        let found: Vec<String> = if let Some(word) = schema.get("const") {
            vec![yaml_word(word)]
        } else if let Some(list) = schema["enum"].as_array() {
            list.iter().map(yaml_word).collect()
        } else {
            match &schema["type"] {
                Value::String(word) => vec![plain_type(word)],
                Value::Array(list) => list.iter().filter_map(Value::as_str).map(plain_type).collect(),
                _ => Vec::new(),
            }
        };
        for word in found {
            if !words.contains(&word) {
                words.push(word);
            }
        }
    }
    words.join(" | ")
}

/// JSON's type names in the words of messages.
fn plain_type(word: &str) -> String {
    match word {
        "object" => "mapping",
        "array" => "list",
        "integer" => "whole number",
        "string" => "text",
        other => other,
    }
    .to_owned()
}

/// A value as one would write it on one line.
fn yaml_word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.path)?;
        writeln!(f, "  {}", self.description)?;
        let lines = [
            ("type", (!self.type_name.is_empty()).then_some(&self.type_name)),
            ("units", self.unit.as_ref()),
            ("range", self.range.as_ref()),
            ("default", self.default.as_ref()),
            ("example", self.example.as_ref()),
        ];
        for (label, value) in lines {
            if let Some(value) = value {
                writeln!(f, "  {label}: {}", value.replace('\n', "\\n"))?;
            }
        }
        if self.is_required {
            writeln!(f, "  required")?;
        }
        let width = self.fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, doc) in &self.fields {
            writeln!(f, "    {name:width$}  {doc}")?;
        }
        for (title, snippet) in [("wrong", &self.bad), ("right", &self.good)] {
            let Some(snippet) = snippet else { continue };
            writeln!(f, "\n  {title}:")?;
            for line in snippet.lines() {
                writeln!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}
