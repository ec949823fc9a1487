//! The document against the routes and their answers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::tests::bench;
use super::*;
use crate::state::{AttemptOutcome, CommittedArtifact, Expected, Fact, PlannedStep, State};

fn document() -> Value {
    json!(openapi())
}

/// `UPDATE_SCHEMA=1 cargo test -p cupola --lib api` writes it anew.
#[test]
fn the_shipped_document_is_the_routes_one() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let text = format!("{:#}\n", document());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let shipped = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(shipped == text, "orchestrator/openapi.json is old: run the test with UPDATE_SCHEMA=1");
}

/// What an operation's answer of a status must look like; none where the document has no such operation.
fn schema_of(document: &Value, method: &str, path: &str, status: u16) -> Option<Value> {
    let answer = &document["paths"][path][method]["responses"][status.to_string()];
    let mut schema = answer["content"].as_object()?.values().next()?["schema"].clone();
    schema["components"] = document["components"].clone();
    Some(schema)
}

fn check(document: &Value, (method, path, status): (&str, &str, u16), body: &str) {
    let what = format!("{method} {path} → {status}: {body}");
    let schema = schema_of(document, method, path, status).unwrap_or_else(|| panic!("undocumented: {what}"));
    let value: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {what}"));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
    assert_eq!(wrong, Vec::<String>::new(), "{what}");
}

fn planned() -> PlannedStep {
    PlannedStep {
        name: "base".into(),
        job: "base".into(),
        kind: cupola_specs::job::StepKind::Pretrain,
        fingerprint: "f".repeat(64),
        code_version: 3,
        params: json!({ "depth": 2 }),
        inputs: BTreeMap::from([("tokens".into(), "e".repeat(64))]),
        needs: Vec::new(),
        sources: BTreeMap::new(),
        seed: 1,
        cores: 2,
        cached: false,
        reason: "never ran".into(),
        training_flops: 1e9,
        trainings: serde_json::Value::Null,
        expected: Expected::default(),
    }
}

/// A run with a step that failed once and then made its artifact.
fn record_a_run(state: &mut State) {
    let (run, step) = ("rich-1".to_owned(), planned());
    let (token, dir) = ("1.1".to_owned(), "runs/rich-1/base.attempt-1".into());
    let failure = cupola_specs::contract::Failure {
        class: cupola_specs::contract::ErrorClass::Transient,
        code: "network".into(),
        message: "try again".into(),
        hint: String::new(),
    };
    let ended = |token: &str, outcome| Fact::AttemptEnded {
        run: run.clone(),
        step: "base".into(),
        token: token.to_owned(),
        outcome,
        peak_rss_bytes: 1 << 20,
        cpu_millis: 900,
    };
    let intended = |number: u32, token: &str, dir: std::path::PathBuf| Fact::AttemptIntended {
        run: run.clone(),
        step: "base".into(),
        number,
        token: token.to_owned(),
        dir,
    };
    let facts = vec![
        Fact::RunCreated {
            run: run.clone(),
            spec_name: "rich".into(),
            spec_path: "rich.yaml".into(),
            plan_hash: String::new(),
        },
        Fact::StepsPlanned { run: run.clone(), steps: vec![step.clone()] },
        intended(1, &token, dir),
        ended(&token, AttemptOutcome::Failed { failure }),
        intended(2, "1.2", "runs/rich-1/base.attempt-2".into()),
        ended("1.2", AttemptOutcome::Succeeded),
        Fact::ArtifactCommitted(Box::new(CommittedArtifact {
            run: run.clone(),
            step: "base".into(),
            token: "1.2".into(),
            fingerprint: step.fingerprint,
            kind: "model".into(),
            path: "store/model/f".into(),
            size_bytes: 10,
            summary: serde_json::Map::from_iter([("tokens".to_owned(), json!(60_000))]),
        })),
        Fact::RunMoved { run, state: crate::state::RunState::Succeeded },
    ];
    state.record(facts).unwrap();
}

#[tokio::test]
async fn answers_are_what_the_document_says() {
    let bench = bench();
    record_a_run(&mut State::open(&StateDir::new(bench.folder.path()), "test").unwrap());
    let document = document();
    for (path, of, status) in [
        ("/runs", "/runs", 200),
        ("/runs/latest", "/runs/{run}", 200),
        ("/runs/tiny-1", "/runs/{run}", 200),
        ("/runs/none", "/runs/{run}", 404),
        ("/runs/latest/step?name=base", "/runs/{run}/step", 200),
        ("/runs/latest/step?name=none", "/runs/{run}/step", 404),
        ("/runs/latest/metrics", "/runs/{run}/metrics", 200),
        ("/schedules", "/schedules", 200),
        ("/commands/7", "/commands/{ticket}", 200),
        ("/orders/none", "/orders/{order}", 404),
    ] {
        let (got, body) = bench.get(&format!("/api/v1{path}")).await;
        assert_eq!(got.as_u16(), status, "{path}: {body}");
        check(&document, ("get", of, status), &body);
    }
    for (path, of, sent, status) in [
        ("/apply", "/apply", r#"{"spec": "none.yaml"}"#, 404),
        ("/apply", "/apply", r#"{"spec": 5}"#, 422),
        ("/apply", "/apply", "{", 422),
        ("/runs/latest/cancel", "/runs/{run}/{verb}", "", 202),
        ("/runs/latest/cancel", "/runs/{run}/{verb}", r#"{"job": "none"}"#, 404),
        ("/runs/latest/cancel", "/runs/{run}/{verb}", r#"{"jobs": 1}"#, 422),
        ("/runs/latest/dance", "/runs/{run}/{verb}", "", 404),
        ("/schedules/none/fire", "/schedules/{name}/{verb}", "", 404),
    ] {
        let (got, body) = bench.post(&format!("/api/v1{path}"), sent).await;
        assert_eq!(got.as_u16(), status, "{path} {sent}: {body}");
        check(&document, ("post", of, status), &body);
    }
}

#[tokio::test]
async fn each_documented_operation_is_there_and_asks_for_the_token() {
    let bench = bench();
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 12, "{:?}", paths.keys());
    for (path, operations) in paths {
        for method in operations
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| ["get", "post", "delete"].contains(&key.as_str()))
        {
            let asked = format!("/api/v1{}", path.replace(['{', '}'], ""));
            let request = super::tests::request(&method.to_uppercase(), &asked, "localhost", None, "");
            let (status, body) = bench.send(request).await;
            assert_eq!(status.as_u16(), 401, "{method} {path}");
            check(&document, (method, path, 401), &body);
        }
    }
    // The document itself needs none.
    let request = super::tests::request("GET", "/api/v1/openapi.json", "localhost", None, "");
    let (status, body) = bench.send(request).await;
    assert_eq!((status.as_u16(), serde_json::from_str::<Value>(&body).unwrap()), (200, document));
}
