//! Keys, hosts and draining.

use axum::body::Body;
use axum::http::{Request, header};

use cupola_serving::Phase;

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
    for path in ["/v1/models", "/v1/models/tiny", "/metrics", "/v1/chat/completions", "/nowhere", "/"] {
        let reply = get(path, None).await;
        assert_eq!(reply.status, 401, "{path}");
        assert_eq!(reply.json()["error"]["code"], "invalid_api_key");
        assert_eq!(get(path, Some("sesamE")).await.status, 401, "{path}");
    }
    assert_eq!(get("/v1/models", Some("sesame")).await.status, 200);
    for path in ["/health", "/ready"] {
        let reply = get(path, None).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(!reply.text.contains("tiny"), "{path} tells nothing about the model");
    }
}

#[tokio::test]
async fn a_browser_asks_for_the_key_of_the_page() {
    let fixture = Fixture::with(|config| config.api_key = Some("sesame".into()));
    let page = fixture.get("/").await;
    assert!(page.headers[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic "));
    let api = fixture.get("/v1/models").await;
    assert_eq!(api.headers[header::WWW_AUTHENTICATE], "Bearer");
    // "me:sesame", as a browser sends what its user typed.
    let request = Request::get("/").header(header::AUTHORIZATION, "Basic bWU6c2VzYW1l");
    assert_eq!(fixture.send(request.body(Body::empty()).unwrap()).await.status, 200);
}

#[tokio::test]
async fn a_clients_request_id_comes_back_where_it_is_plain() {
    let fixture = Fixture::new();
    let id_for = async |id: &str| {
        let request = Request::get("/health").header("x-request-id", id).body(Body::empty()).unwrap();
        fixture.send(request).await.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id_for("trace-42").await, "trace-42");
    assert!(id_for("two words").await.starts_with("req_"));
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
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,x-stainless-lang")
            .body(Body::empty())
            .unwrap()
    };
    let closed = Fixture::new().send(preflight()).await;
    assert!(!closed.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    let fixture = Fixture::with(|config| config.cors_origins = vec!["https://app.example".into()]);
    let open = fixture.send(preflight()).await;
    assert_eq!(open.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
    assert_eq!(open.headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "authorization,x-stainless-lang");
    let other = Request::get("/health").header(header::ORIGIN, "https://evil.example");
    let other = fixture.send(other.body(Body::empty()).unwrap()).await;
    assert!(!other.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
}

#[tokio::test]
async fn a_draining_server_is_not_ready_and_takes_nothing_new() {
    let fixture = Fixture::new();
    fixture.house.enter(Phase::Notice);
    assert_eq!(fixture.get("/ready").await.status, 503);
    assert_eq!(fixture.post("/v1/chat/completions", &chat("Hi")).await.status, 200, "only told so far");
    fixture.house.enter(Phase::Draining);
    assert_eq!(fixture.get("/ready").await.status, 503);
    assert_eq!(fixture.get("/health").await.status, 200);
    let reply = fixture.post("/v1/chat/completions", &chat("Hi")).await;
    assert_eq!(reply.status, 503);
    assert!(reply.headers.contains_key(header::RETRY_AFTER));
}
