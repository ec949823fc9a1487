//! The JSON Schema of the language (draft 2020-12), from the same tables that decode it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::document::{JobCommon, Top};
use super::resolved::JobKind;
use crate::job::written::{DataJob, EvalJob, PretrainJob, RlhfJob, ScalingJob, SftJob, TokenizerJob};

/// What stands for any value: `${vars.x}` or `${env.X}`, alone or in a text.
const PLACEHOLDER: &str = "\\$\\{(vars|env)\\.";

/// The schema of a whole spec file.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut root = object_of::<Top>(&mut generator);
    let jobs: Vec<Value> =
        JobKind::ALL.iter().map(|kind| job_schema(*kind, &mut generator).to_value()).collect();
    let head = json!({
        "cupola": { "const": "v1", "description": "Version of the language." },
        "name": { "type": "string", "description": "The spec's name.", "examples": ["quickstart"] },
        "vars": {
            "type": "object",
            "description": "Values for ${vars.NAME}; --set vars.NAME=VALUE changes them.",
            "additionalProperties": { "type": ["string", "number", "boolean", "null"] },
        },
        "include": {
            "description": "Files that are merged under this one, later ones over earlier ones.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
            "examples": [["./defaults.yaml"]],
        },
        "jobs": {
            "type": "object",
            "description": "The jobs by name. Edges come from references between them.",
            "minProperties": 1,
            "additionalProperties": { "oneOf": jobs },
        },
    });
    let mut properties = entries(&head);
    properties.extend(entries(&root["properties"]));
    root["properties"] = Value::Object(properties);
    root["required"] = json!(["cupola", "name", "jobs"]);
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("Cupola spec, v1");
    root["description"] = json!("A graph of jobs that builds a language model.");
    root["$defs"] = Value::Object(generator.take_definitions(true));
    allow_placeholders(&mut root);
    root
}

/// The schema of one kind of job: its own fields and those of every job.
pub(crate) fn job_schema(kind: JobKind, generator: &mut SchemaGenerator) -> Schema {
    let own = match kind {
        JobKind::Data => object_of::<DataJob>(generator),
        JobKind::Tokenizer => object_of::<TokenizerJob>(generator),
        JobKind::Scaling => object_of::<ScalingJob>(generator),
        JobKind::Pretrain => object_of::<PretrainJob>(generator),
        JobKind::Sft => object_of::<SftJob>(generator),
        JobKind::Rlhf => object_of::<RlhfJob>(generator),
        JobKind::Eval => object_of::<EvalJob>(generator),
    };
    let common = object_of::<JobCommon>(generator);
    let mut properties = Map::new();
    properties.extend(entries(&common["properties"]));
    properties
        .insert("kind".to_owned(), json!({ "const": kind.as_str(), "description": "What the job does." }));
    properties.insert("matrix".to_owned(), matrix_schema());
    properties.extend(entries(&own["properties"]));
    let mut required = vec![json!("kind")];
    required.extend(own["required"].as_array().cloned().unwrap_or_default());
    let mut schema = json_schema!({
        "title": kind.as_str(),
        "type": "object",
        "description": own["description"],
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    if kind == JobKind::Tokenizer {
        let is_bytes =
            json!({ "const": "bytes", "description": "The bytes are the tokens, so no size is given." });
        schema.insert(
            "if".to_owned(),
            json!({ "properties": { "algorithm": is_bytes }, "required": ["algorithm"] }),
        );
        schema.insert("else".to_owned(), json!({ "required": ["vocab_size"] }));
    }
    schema
}

/// The field that makes a job for each combination.
fn matrix_schema() -> Value {
    json!({
        "type": "object",
        "description": "A job for each combination, named job[key=value]; a key is a field path in the job.",
        "additionalProperties": { "type": "array", "minItems": 1 },
        "examples": [{ "seed": [1, 2, 3] }],
    })
}

/// The schema of a mapping itself, not a reference to it.
fn object_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    T::json_schema(generator).to_value()
}

/// The entries of an object.
fn entries(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// Whether a type is a number or a boolean, or null besides.
fn is_not_text(types: &Value) -> bool {
    let names = match types {
        Value::Array(names) => names.as_slice(),
        one => std::slice::from_ref(one),
    };
    let is = |words: &[&str]| names.iter().filter_map(Value::as_str).any(|name| words.contains(&name));
    is(&["integer", "number", "boolean"]) && !is(&["string"])
}

/// Lets a placeholder stand wherever a number, a boolean or a word of a closed set does.
fn allow_placeholders(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(allow_placeholders),
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                if !matches!(key.as_str(), "default" | "examples" | "const" | "enum" | "required") {
                    allow_placeholders(value);
                }
            }
            let is_number = object.get("type").is_some_and(is_not_text);
            let is_words = object.contains_key("enum")
                || object.get("oneOf").and_then(Value::as_array).is_some_and(|words| {
                    words.iter().all(|word| word.get("const").is_some() || word.get("enum").is_some())
                });
            if is_number || is_words {
                let notes = ["description", "default", "examples", "x-unit", "x-range", "title"];
                let (outer, inner): (Map<String, Value>, Map<String, Value>) =
                    std::mem::take(object).into_iter().partition(|(key, _)| notes.contains(&key.as_str()));
                *object = outer;
                object
                    .insert("anyOf".to_owned(), json!([inner, { "type": "string", "pattern": PLACEHOLDER }]));
            }
        }
        _ => {}
    }
}
