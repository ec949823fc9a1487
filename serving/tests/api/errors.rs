//! Errors are OpenAI's objects with the right status, and name their parameter.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

use crate::fixture::{Fixture, chat, with};

#[tokio::test]
async fn bad_chat_requests_are_named() {
    let fixture = Fixture::new();
    let cases = [
        (json!({"model": "gpt-9"}), 404, "model", "model_not_found"),
        (json!({"model": null}), 400, "model", "invalid_value"),
        (json!({"messages": []}), 400, "messages", "invalid_value"),
        (
            json!({"messages": [{"role": "user", "content": "x".repeat(200)}]}),
            400,
            "messages",
            "context_length_exceeded",
        ),
        (json!({"max_tokens": 150}), 400, "messages", "context_length_exceeded"),
        (json!({"max_tokens": 5, "max_completion_tokens": 5}), 400, "max_tokens", "invalid_value"),
        (json!({"max_tokens": 0}), 400, "max_tokens", "invalid_value"),
        (json!({"max_completion_tokens": -1}), 400, "max_completion_tokens", "invalid_value"),
        (json!({"temperature": 2.5}), 400, "temperature", "invalid_value"),
        (json!({"temperature": "hot"}), 400, "temperature", "invalid_value"),
        (json!({"top_p": -0.1}), 400, "top_p", "invalid_value"),
        (json!({"n": 0}), 400, "n", "invalid_value"),
        (json!({"n": 100}), 400, "n", "invalid_value"),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), 400, "stop", "invalid_value"),
        (json!({"stop": 3}), 400, "stop", "invalid_value"),
        (json!({"top_logprobs": 3}), 400, "top_logprobs", "invalid_value"),
        (json!({"logit_bias": {"9999": 1}}), 400, "logit_bias", "invalid_value"),
        (json!({"stream_options": {"include_usage": true}}), 400, "stream_options", "invalid_value"),
        (json!({"stream": true, "stream_options": [null]}), 400, "stream_options", "invalid_value"),
        (json!({"tools": [{"type": "web"}]}), 400, "tools[0].type", "unsupported_parameter"),
        (json!({"response_format": {"type": "json_schema"}}), 400, "response_format", "invalid_value"),
        (json!({"audio": {"voice": "x"}}), 400, "audio", "unsupported_parameter"),
        (json!({"modalities": ["audio"]}), 400, "modalities", "unsupported_parameter"),
        (json!({"colour": "red"}), 400, "colour", "unknown_parameter"),
    ];
    for (change, status, param, code) in cases {
        let reply = fixture.post("/v1/chat/completions", &with(&chat("Hi"), &change)).await;
        let error = &reply.json()["error"];
        assert_eq!(reply.status, status, "{change}: {error}");
        assert_eq!((&error["param"], &error["code"]), (&json!(param), &json!(code)), "{change}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
}

#[tokio::test]
async fn what_openai_ignores_is_ignored() {
    let fixture = Fixture::new();
    let extra = json!({
        "user": "u1", "metadata": {"a": "b"}, "store": false, "tools": [], "tool_choice": "none",
        "response_format": {"type": "text"}, "modalities": ["text"], "logit_bias": null, "stream_options": null,
    });
    assert_eq!(fixture.post("/v1/chat/completions", &with(&chat("Hi"), &extra)).await.status, 200);
}

#[tokio::test]
async fn bad_completions_are_named() {
    let fixture = Fixture::new();
    let base = json!({"model": "tiny", "prompt": "a", "max_tokens": 2});
    for (change, param) in [
        (json!({"prompt": null}), "prompt"),
        (json!({"prompt": {"text": "a"}}), "prompt"),
        (json!({"prompt": []}), "prompt"),
        (json!({"prompt": [0, 99999]}), "prompt"),
        (json!({"prompt": [[0], []]}), "prompt"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_tokens": 400}), "prompt"),
        (json!({"best_of": 3}), "best_of"),
        (json!({"suffix": "end"}), "suffix"),
        (json!({"logprobs": 21}), "logprobs"),
        (json!({"messages": []}), "messages"),
    ] {
        let reply = fixture.post("/v1/completions", &with(&base, &change)).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["error"]["param"]),
            (400, &json!(param)),
            "{change}: {}",
            reply.text
        );
    }
}

#[tokio::test]
async fn bodies_and_routes_that_are_none() {
    let fixture = Fixture::with(|config| config.limits.body_bytes = 2000);
    let send = |content_type: &'static str, body: String| {
        let request = Request::post("/v1/chat/completions").header(header::CONTENT_TYPE, content_type);
        fixture.send(request.body(Body::from(body)).unwrap())
    };
    for (content_type, body, status) in [
        ("application/json", "{\"model\": \"tiny\",".to_owned(), 400),
        ("application/json", "[]".to_owned(), 400),
        ("application/json", "[".repeat(1500), 400),
        ("application/json", "{\"n\": NaN}".to_owned(), 400),
        ("text/plain", "{}".to_owned(), 400),
        ("application/json", chat(&"y".repeat(3000)).to_string(), 413),
    ] {
        let reply = send(content_type, body).await;
        assert_eq!(reply.status, status, "{}", reply.text);
        assert!(reply.json()["error"]["message"].is_string());
    }
    let error = |reply: &crate::fixture::Reply| -> Value { reply.json()["error"]["code"].clone() };
    let missing = fixture.get("/v1/engines").await;
    assert_eq!((missing.status.as_u16(), error(&missing)), (404, json!("unknown_url")));
    let method = fixture.get("/v1/chat/completions").await;
    assert_eq!((method.status.as_u16(), error(&method)), (405, json!("method_not_allowed")));
    let name = fixture.get("/v1/models/%ff").await;
    assert_eq!((name.status.as_u16(), error(&name)), (400, json!(null)), "{}", name.text);
    let model = fixture.get("/v1/models/other/one").await;
    assert_eq!((model.status.as_u16(), error(&model)), (404, json!("model_not_found")));
}
