//! Keys, hosts and draining.

use axum::body::Body;
use axum::http::{Request, header};

use crate::fixture::{Fixture, chat};

#[tokio::test]
async fn a_key_guards_every_route_but_the_life_signs() {
    let fixture = Fixture::with(|config| config.api_key = Some("sesame".into()));
    let get = |path: &str, key: Option<&str>| {
        let mut request = Request::get(path);
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        fixture.send(request.body(Body::empty()).unwrap())
    };
    for path in ["/v1/models", "/v1/models/tiny", "/metrics", "/v1/chat/completions", "/nowhere"] {
        let reply = get(path, None).await;
        assert_eq!(reply.status, 401, "{path}");
        assert_eq!(reply.json()["error"]["code"], "invalid_api_key");
        assert_eq!(get(path, Some("sesamE")).await.status, 401, "{path}");
    }
    assert_eq!(get("/v1/models", Some("sesame")).await.status, 200);
    for path in ["/health", "/ready", "/"] {
        let reply = get(path, None).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(!reply.text.contains("tiny"), "{path} tells nothing about the model");
    }
}

#[tokio::test]
async fn a_rebound_host_name_gets_nothing() {
    let fixture = Fixture::new();
    let get = |host: &str| {
        fixture.send(Request::get("/v1/models").header(header::HOST, host).body(Body::empty()).unwrap())
    };
    assert_eq!(get("localhost:8080").await.status, 200);
    assert_eq!(get("127.0.0.1:8080").await.status, 200);
    assert_eq!(get("evil.example").await.status, 403);
}

#[tokio::test]
async fn other_origins_pass_only_when_named() {
    let preflight = || {
        Request::options("/v1/chat/completions")
            .header(header::ORIGIN, "https://app.example")
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .body(Body::empty())
            .unwrap()
    };
    let closed = Fixture::new().send(preflight()).await;
    assert!(!closed.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    let fixture = Fixture::with(|config| config.cors_origins = vec!["https://app.example".into()]);
    let open = fixture.send(preflight()).await;
    assert_eq!(open.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
}

#[tokio::test]
async fn a_draining_server_is_not_ready_and_takes_nothing_new() {
    let fixture = Fixture::new();
    fixture.app.start_draining();
    assert_eq!(fixture.get("/ready").await.status, 503);
    assert_eq!(fixture.get("/health").await.status, 200);
    let reply = fixture.post("/v1/chat/completions", &chat("Hi")).await;
    assert_eq!(reply.status, 503);
    assert!(reply.headers.contains_key(header::RETRY_AFTER));
}
