//! The schema that ships is the one that the code makes, and it accepts what the language accepts.

mod schema_check;

use std::path::Path;

use cupola_specs::spec::{Code, explain, schema};
use serde_json::Value;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// `UPDATE_SCHEMA=1 cargo test -p cupola-specs --test schema` writes it anew.
#[test]
fn the_shipped_schema_is_current() {
    let path = folder().join("schema.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let shipped = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(shipped == text, "specs/schema.json is old: run the test with UPDATE_SCHEMA=1");
}

#[test]
fn the_schema_accepts_the_quickstart() {
    let spec = yaml(&std::fs::read_to_string(folder().join("quickstart.yaml")).unwrap());
    let problems = schema_check::check(&schema(), &spec);
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn the_schema_refuses_what_the_language_refuses() {
    let spec = |job: &str| yaml(&format!("cupola: v1\nname: x\njobs:\n  a: {job}\n"));
    let right = spec("{ kind: tokenizer, corpus: c, vocab_size: 4096 }");
    assert!(schema_check::check(&schema(), &right).is_empty());
    let bytes = spec("{ kind: tokenizer, corpus: c, algorithm: bytes }");
    assert!(schema_check::check(&schema(), &bytes).is_empty());
    for wrong in [
        "{ kind: tokenizer, corpus: c }",
        "{ kind: tokenizer, corpus: c, algorithm: unigram }",
        "{ kind: tokenizer, corpus: c, vocab_size: many }",
        "{ kind: tokenizer, corpus: c, vocab_size: 4096, colour: red }",
        "{ kind: tokenizer, corpus: c, vocab_size: 4096, digits: four }",
        "{ kind: tokeniser, corpus: c, vocab_size: 4096 }",
        "{ kind: eval, models: [], suites: [{ perplexity: { on: c.validation } }] }",
        "{ kind: data, sources: [] }",
    ] {
        assert!(!schema_check::check(&schema(), &spec(wrong)).is_empty(), "{wrong}");
    }
}

/// Every field of every mapping says what it is.
#[test]
fn every_field_has_a_doc_line() {
    fn visit(value: &Value, path: &str, missing: &mut Vec<String>) {
        if let Some(properties) = value.get("properties").and_then(Value::as_object) {
            for (name, field) in properties {
                let has_doc = field["description"].as_str().is_some_and(|doc| !doc.is_empty());
                if !has_doc && field.get("$ref").is_none() {
                    missing.push(format!("{path}.{name}"));
                }
            }
        }
        match value {
            Value::Object(object) => {
                object.iter().for_each(|(key, value)| visit(value, &format!("{path}.{key}"), missing));
            }
            Value::Array(items) => items.iter().for_each(|item| visit(item, path, missing)),
            _ => {}
        }
    }
    let mut missing = Vec::new();
    visit(&schema(), "", &mut missing);
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn explain_knows_fields_and_codes() {
    let lr = explain("jobs.pretrain.optimizer.lr").unwrap();
    assert_eq!(lr.default.as_deref(), Some("auto"));
    assert!(lr.description.contains("learning rate"), "{lr}");
    let tokens = explain("pretrain.tokens").unwrap();
    assert_eq!(tokens.unit.as_deref(), Some("K, M, B, T, or an exponent (1e9)"));
    assert_eq!(tokens.example.as_deref(), Some("2.5M"));
    let source = explain("data.sources.max_bytes").unwrap();
    assert_eq!(source.example.as_deref(), Some("200MB"));
    assert!(explain("tokenizer.corpus").unwrap().is_required);
    assert!(explain("eval.suites.judge.model").is_some());
    assert!(explain("schedules.nightly.cron").is_some());
    assert!(!explain("budget").unwrap().fields.is_empty());
    assert!(explain("e0301").unwrap().description.contains("unit"));
    assert_eq!(explain("pretrain.nothing"), None);
    insta::assert_snapshot!(explain("pretrain.tokens").unwrap().to_string());
}

#[test]
fn codes_are_unique_and_say_what_to_do() {
    for (index, code) in Code::ALL.iter().enumerate() {
        assert!(Code::ALL[..index].iter().all(|other| other.as_str() != code.as_str()), "{code:?}");
        assert!(!code.meaning().is_empty() && !code.advice().is_empty(), "{code:?}");
    }
}
