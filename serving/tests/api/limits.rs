//! What a request and a key may ask for.

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::http::{Request, header};
use cupola_serving::{House, new_key};
use futures::StreamExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::fixture::{Fixture, Reply, chat, with};
use crate::load::long_stream;

const CHAT: &str = "/v1/chat/completions";

/// A folder with a keys file, and the keys of alice (2 requests a minute), bob (60 tokens a minute, 100 a day) and carol.
fn keys() -> (tempfile::TempDir, std::path::PathBuf, [String; 3]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.yaml");
    let limits = ["  requests_per_minute: 2\n", "  tokens_per_minute: 60\n  tokens_per_day: 100\n", ""];
    let keys = ["alice", "bob", "carol"].map(|name| new_key(&path, name).unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    let entries: Vec<&str> = text.split_inclusive('\n').collect();
    let text: String = entries.chunks(2).zip(limits).map(|(entry, limits)| entry.concat() + limits).collect();
    std::fs::write(&path, text).unwrap();
    (folder, path, keys)
}

async fn ask(fixture: &Fixture, key: &str, body: &Value) -> Reply {
    let request = Request::post(CHAT)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {key}"));
    fixture.send(request.body(body.to_string().into()).unwrap()).await
}

fn told<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn each_key_has_its_own_limits_and_is_told_where_they_stand() {
    let (_folder, path, [alice, bob, carol]) = keys();
    let fixture = Fixture::with(|config| config.keys_file = Some(path));
    let reply = ask(&fixture, &alice, &chat("Hello")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(told(&reply, "x-ratelimit-limit-requests"), "2");
    assert_eq!(told(&reply, "x-ratelimit-remaining-requests"), "1");
    assert!(!told(&reply, "x-ratelimit-reset-requests").is_empty());
    assert_eq!(told(&reply, "x-ratelimit-limit-tokens"), "");
    assert_eq!(
        ask(&fixture, &alice, &with(&chat("Hi"), &json!({"n": 0}))).await.status,
        400,
        "costs nothing"
    );
    assert_eq!(ask(&fixture, &alice, &chat("Hello")).await.status, 200);
    let refused = ask(&fixture, &alice, &chat("Hello")).await;
    assert_eq!(refused.status, 429);
    let error = &refused.json()["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("requests"), &json!("rate_limit_exceeded")));
    let millis: u64 = told(&refused, "retry-after-ms").parse().unwrap();
    assert!((1..=30_000).contains(&millis), "{millis}");
    assert_eq!(told(&refused, "x-should-retry"), "true");

    // 25 tokens of prompt, 24 of answer: 11 are left of 60, so the next prompt does not fit.
    let body = with(&chat("Hello"), &json!({"ignore_eos": true}));
    let reply = ask(&fixture, &bob, &body).await;
    assert_eq!(reply.json()["usage"]["total_tokens"], 49);
    assert_eq!(told(&reply, "x-ratelimit-limit-tokens"), "60");
    let refused = ask(&fixture, &bob, &body).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["type"]), (429, &json!("tokens")));
    assert!(told(&refused, "x-ratelimit-remaining-tokens").parse::<u64>().unwrap() < 25);

    let reply = ask(&fixture, &carol, &body).await;
    assert_eq!(reply.status, 200, "others have limits of their own");
    assert_eq!(told(&reply, "x-ratelimit-limit-requests"), "68", "without a limit, the server's places");
    assert_eq!(ask(&fixture, "sk-nobody", &body).await.status, 401);
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_names_who_asked_and_never_a_key_or_a_text() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // For the whole process: a subscriber of one thread misses lines that another thread came to first.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let (_folder, path, [alice, _, carol]) = keys();
    let fixture = Fixture::with(|config| config.keys_file = Some(path));
    for (id, key, status) in [("of-alice", alice.as_str(), 200), ("of-nobody", "sk-guess", 401)] {
        let request = Request::post(CHAT)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {key}"))
            .header("x-request-id", id);
        let body = chat("My secret plan").to_string();
        assert_eq!(fixture.send(request.body(body.into()).unwrap()).await.status, status);
    }
    for (id, hangs_up) in [("of-a-stream", false), ("of-a-hang-up", true)] {
        let request = Request::post(CHAT)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {carol}"))
            .header("x-request-id", id);
        let request = request.body(axum::body::Body::from(long_stream(1).to_string())).unwrap();
        let mut stream =
            fixture.router.clone().oneshot(request).await.unwrap().into_body().into_data_stream();
        while stream.next().await.is_some() && !hangs_up {}
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line =
        |id: &str| text.lines().find(|line| line.contains(id)).unwrap_or_else(|| panic!("no {id} in {text}"));
    assert!(line("of-alice").contains("\"alice\"") && line("of-alice").contains("200"), "{text}");
    for (id, words) in [
        (
            "of-alice",
            &[
                "prompt_tokens=34",
                "cached_tokens=0",
                "answer_tokens=24",
                "finish=\"length\"",
                "first_token_millis=",
            ][..],
        ),
        ("of-a-stream", &["prompt_tokens=21", "answer_tokens=139", "finish=\"length\"", "total_millis="]),
        ("of-a-hang-up", &["prompt_tokens=21", "finish=\"abort\""]),
    ] {
        assert!(words.iter().all(|word| line(id).contains(word)), "{words:?} in {}", line(id));
    }
    assert!(line("of-nobody").contains("\"-\"") && line("of-nobody").contains("401"), "{text}");
    for secret in [alice.as_str(), "sk-guess", "secret plan"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

#[tokio::test]
async fn prompts_and_answers_have_limits() {
    let fixture = Fixture::with(|config| {
        config.limits.prompt_tokens = 25;
        config.limits.output_tokens = 8;
    });
    let param = |reply: &Reply| (reply.status.as_u16(), reply.json()["error"]["param"].clone());
    let long = with(&chat("Hello!"), &json!({"max_tokens": 8}));
    assert_eq!(param(&fixture.post(CHAT, &long).await), (400, json!("messages")));
    assert_eq!(param(&fixture.post(CHAT, &chat("Hi")).await), (400, json!("max_tokens")));
    let asked = json!({"max_tokens": null, "max_completion_tokens": 9});
    assert_eq!(
        param(&fixture.post(CHAT, &with(&chat("Hi"), &asked)).await),
        (400, json!("max_completion_tokens"))
    );
    let unsaid = json!({"max_tokens": null, "ignore_eos": true});
    let answer = fixture.post(CHAT, &with(&chat("Hi"), &unsaid)).await.json();
    assert_eq!(answer["usage"]["completion_tokens"], 8);
    let plain = json!({"model": "tiny", "prompt": "a", "ignore_eos": true});
    assert_eq!(fixture.post("/v1/completions", &plain).await.json()["usage"]["completion_tokens"], 8);
}

#[tokio::test]
async fn an_answer_that_takes_too_long_ends_with_an_error() {
    let fixture = Fixture::patient(|config| config.limits.time = std::time::Duration::from_millis(20));
    let whole = with(&long_stream(1), &json!({"stream": false}));
    let reply = fixture.post(CHAT, &whole).await;
    assert_eq!((reply.status.as_u16(), told(&reply, "x-should-retry")), (504, "false"), "{}", reply.text);
    let reply = fixture.post(CHAT, &long_stream(1)).await;
    let last: Value = serde_json::from_str(reply.events().last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "time_limit_exceeded");
}

#[test]
fn a_server_does_not_start_on_a_broken_keys_file_or_a_wild_origin() {
    let fixture = Fixture::new();
    let mut config = fixture.config.clone();
    config.keys_file = Some(config.models[0].path.join("config.json"));
    assert!(House::load(&config).err().unwrap().to_string().contains("config.json"));
    config.keys_file = None;
    config.cors_origins = vec!["*".into()];
    assert!(House::load(&config).err().unwrap().to_string().contains("cors-origin"));
}
