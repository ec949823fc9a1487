//! The document against the routes and their answers.

use axum::body::Body;
use axum::http::{Request, header};
use cupola_serving::openapi;
use serde_json::{Value, json};

use crate::fixture::{Fixture, Reply, chat, with};

/// `UPDATE_SCHEMA=1 cargo test -p cupola-serving --test api document` writes it anew.
#[test]
fn the_shipped_document_is_the_routes_one() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let text = format!("{:#}\n", openapi());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let shipped = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(shipped == text, "serving/openapi.json is old: run the test with UPDATE_SCHEMA=1");
}

/// Holds a value against a schema of the document.
fn hold(document: &Value, schema: &Value, value: &Value, what: &str) {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert_eq!(wrong, Vec::<String>::new(), "{what}: {value}");
}

/// Holds a reply against what the document says of its operation and status.
fn check(document: &Value, (method, path): (&str, &str), reply: &Reply) {
    let what = format!("{method} {path} → {}", reply.status);
    let answer = &document["paths"][path][method]["responses"][reply.status.as_str()];
    let content =
        answer["content"].as_object().unwrap_or_else(|| panic!("undocumented: {what}: {}", reply.text));
    let media_type = reply.headers[header::CONTENT_TYPE].to_str().unwrap();
    if media_type == "text/event-stream" {
        for chunk in reply.chunks() {
            hold(document, &content[media_type]["schema"], &chunk, &what);
        }
    } else {
        hold(document, &content["application/json"]["schema"], &reply.json(), &what);
    }
}

#[tokio::test]
async fn answers_and_requests_are_what_the_document_says() {
    let fixture = Fixture::new();
    let document = openapi();
    for path in ["/v1/models", "/health", "/ready"] {
        check(&document, ("get", path), &fixture.get(path).await);
    }
    for name in ["tiny", "other"] {
        check(&document, ("get", "/v1/models/{id}"), &fixture.get(&format!("/v1/models/{name}")).await);
    }
    let stream = json!({"stream": true, "stream_options": {"include_usage": true}});
    let completion =
        json!({"model": "tiny", "prompt": ["ab", "c"], "max_tokens": 3, "logprobs": 2, "echo": true});
    for (path, asked) in [
        ("/v1/chat/completions", chat("Hi")),
        (
            "/v1/chat/completions",
            with(&chat("Hi"), &json!({"n": 2, "logprobs": true, "top_logprobs": 2, "stop": "x"})),
        ),
        ("/v1/chat/completions", with(&with(&chat("Hi"), &stream), &json!({"logprobs": true}))),
        ("/v1/completions", completion.clone()),
        ("/v1/completions", json!({"model": "tiny", "prompt": [1, 2, 3], "stop": ["a", "b"]})),
        ("/v1/completions", with(&completion, &stream)),
        ("/v1/chat/completions", with(&chat("Hi"), &json!({"response_format": {"type": "json_object"}}))),
        ("/v1/responses", json!({"model": "tiny", "input": "Hi", "max_output_tokens": 4})),
        (
            "/v1/responses",
            json!({"model": "tiny", "input": [{"role": "user", "content": "Hi"}], "text": {"format": {"type": "text"}}}),
        ),
        ("/v1/embeddings", json!({"model": "tiny", "input": ["a", "b"]})),
        (
            "/v1/embeddings",
            json!({"model": "tiny", "input": [1, 2], "encoding_format": "base64", "pooling": "last"}),
        ),
    ] {
        let request =
            &document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
        hold(&document, request, &asked, path);
        let reply = fixture.post(path, &asked).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        check(&document, ("post", path), &reply);
        for wrong in [json!({"model": "other"}), json!({"temperature": 9}), json!({"colour": 1})] {
            check(&document, ("post", path), &fixture.post(path, &with(&asked, &wrong)).await);
        }
    }
}

#[tokio::test]
async fn each_documented_operation_is_there_and_asks_for_the_key() {
    let fixture = Fixture::with(|config| config.api_key = Some("sesame".into()));
    let document = openapi();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let uri = path.replace(['{', '}'], "");
            let request =
                Request::builder().method(method.to_uppercase().as_str()).uri(uri).body(Body::empty());
            let reply = fixture.send(request.unwrap()).await;
            let is_open = operations[method]["security"] == json!([{}]);
            assert_eq!(reply.status, if is_open { 200 } else { 401 }, "{method} {path}");
            check(&document, (method, path), &reply);
        }
    }
    let request = Request::get("/openapi.json").header(header::AUTHORIZATION, "Bearer sesame");
    let mut served = fixture.send(request.body(Body::empty()).unwrap()).await.json();
    for (name, schema) in served["components"]["schemas"].as_object_mut().unwrap() {
        if name.ends_with("Request") {
            let model = schema["properties"]["model"].as_object_mut().unwrap();
            assert_eq!(model.remove("enum"), Some(json!(["tiny"])), "{name}");
        }
    }
    assert_eq!(served, document);
}
