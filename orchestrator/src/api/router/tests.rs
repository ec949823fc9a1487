use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use futures::StreamExt;
use tower::ServiceExt;

use super::*;
use crate::daemon::{Engine, Launcher, Surroundings, Ticket, WatchedSpecs};
use crate::state::{Fact, RunState, State};

const TOKEN: &str = "a-token";

struct FakeLauncher(Arc<Mutex<Vec<Vec<String>>>>);

impl Launcher for FakeLauncher {
    fn start(&mut self, arguments: &[String], _around: &Surroundings<'_>) -> std::io::Result<Ticket> {
        self.0.lock().unwrap().push(arguments[2..].to_vec());
        Ok(7)
    }
    fn ended(&mut self, _ticket: Ticket) -> std::io::Result<Option<i32>> {
        Ok(Some(0))
    }
    fn stop(&mut self, _ticket: Ticket) {}
}

pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
    app: Router,
    started: Arc<Mutex<Vec<Vec<String>>>>,
}

pub(super) fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let dir = StateDir::new(folder.path());
    let mut state = State::open(&dir, "test").unwrap();
    let run = "tiny-1".to_owned();
    let created = Fact::RunCreated {
        run: run.clone(),
        spec_name: "<b>".into(),
        spec_path: "t.yaml".into(),
        plan_hash: String::new(),
    };
    state.record(vec![created, Fact::RunMoved { run, state: RunState::Succeeded }]).unwrap();
    drop(state);
    let started = Arc::new(Mutex::new(Vec::new()));
    let engine = Engine::new(&dir, WatchedSpecs::of(Vec::new()), FakeLauncher(Arc::clone(&started)));
    let app = router(ApiState::new(&dir, Arc::new(Mutex::new(engine)), TOKEN));
    Bench { folder, app, started }
}

impl Bench {
    pub(super) async fn send(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    pub(super) async fn get(&self, path: &str) -> (StatusCode, String) {
        self.send(request("GET", path, "127.0.0.1:7070", Some(TOKEN), "")).await
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> (StatusCode, String) {
        self.send(request("POST", path, "localhost:7070", Some(TOKEN), body)).await
    }
}

pub(super) fn request(
    method: &str,
    path: &str,
    host: &str,
    token: Option<&str>,
    body: &str,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_owned())).unwrap()
}

#[tokio::test]
async fn a_host_that_is_not_loopback_is_refused_even_with_the_token() {
    let bench = bench();
    let (status, _) = bench.send(request("GET", "/api/v1/runs", "evil.example", Some(TOKEN), "")).await;
    assert_eq!(status, StatusCode::MISDIRECTED_REQUEST);
    let (status, _) = bench.send(request("GET", "/health", "evil.example:7070", None, "")).await;
    assert_eq!(status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn without_the_token_only_health_answers() {
    let bench = bench();
    for path in ["/api/v1/runs", "/", "/metrics", "/runs/tiny-1", "/runs/tiny-1/report", "/api/v1/schedules"]
    {
        let (status, _) = bench.send(request("GET", path, "localhost", None, "")).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        let (status, _) = bench.send(request("GET", path, "localhost", Some("another"), "")).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let (status, _) = bench.send(request("GET", "/health", "localhost", None, "")).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_cookie_reads_and_never_changes() {
    let bench = bench();
    let with_cookie = |method: &str, path: &str| {
        let mut request = request(method, path, "localhost", None, "{}");
        let cookie = format!("other=1; cupola_token={TOKEN}");
        request.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
        request
    };
    assert_eq!(bench.send(with_cookie("GET", "/")).await.0, StatusCode::OK);
    assert_eq!(
        bench.send(with_cookie("POST", "/api/v1/runs/tiny-1/cancel")).await.0,
        StatusCode::UNAUTHORIZED
    );
    let (status, _) = bench.send(request("GET", "/login?token=wrong", "localhost", None, "")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, _) =
        bench.send(request("GET", &format!("/login?token={TOKEN}"), "localhost", None, "")).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn runs_are_listed_and_pages_escape_names() {
    let bench = bench();
    let (status, text) = bench.get("/api/v1/runs").await;
    assert!(status == StatusCode::OK && text.contains("tiny-1") && text.contains("succeeded"), "{text}");
    assert_eq!(bench.get("/api/v1/runs/latest").await.0, StatusCode::OK);
    assert_eq!(bench.get("/api/v1/runs/no-such").await.0, StatusCode::NOT_FOUND);
    let (_, page) = bench.get("/").await;
    assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"));
    assert_eq!(bench.get("/runs/tiny-1").await.0, StatusCode::OK);
    assert_eq!(bench.get("/runs/tiny-1/report").await.0, StatusCode::NOT_FOUND);
    let (_, text) = bench.get("/metrics").await;
    assert!(text.contains("cupola_runs{state=\"succeeded\"} 1"), "{text}");
}

#[tokio::test]
async fn verbs_become_commands_of_the_program() {
    let bench = bench();
    let (status, text) = bench.post("/api/v1/runs/tiny-1/retry", "").await;
    assert_eq!((status, text.as_str()), (StatusCode::ACCEPTED, "{\"command\":7}"));
    assert_eq!(*bench.started.lock().unwrap(), [["retry", "--run=tiny-1"]]);
    assert_eq!(bench.post("/api/v1/runs/tiny-1/explode", "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(bench.post("/api/v1/runs/tiny-1/cancel", r#"{"job":"no"}"#).await.0, StatusCode::NOT_FOUND);
    let (status, text) = bench.post("/api/v1/apply", r#"{"spec":"t.yaml","onyl":[]}"#).await;
    assert!(status == StatusCode::UNPROCESSABLE_ENTITY && text.contains("onyl"), "{text}");
    assert_eq!(bench.post("/api/v1/apply", r#"{"spec":"no/such.yaml"}"#).await.0, StatusCode::NOT_FOUND);
    assert_eq!(bench.post("/api/v1/schedules/nightly/fire", "").await.0, StatusCode::NOT_FOUND);
    let (_, text) = bench.get("/api/v1/commands/7").await;
    assert!(text.contains("\"exit_code\":0"), "{text}");
}

#[tokio::test]
async fn an_apply_is_an_order_that_can_be_looked_at_and_taken_back() {
    let bench = bench();
    let spec = bench.folder.path().join("t.yaml");
    std::fs::write(&spec, "").unwrap();
    let held = State::open(&StateDir::new(bench.folder.path()), "apply").unwrap();
    let apply = |more: &str| format!(r#"{{"spec":"t.yaml","folder":{:?}{more}}}"#, bench.folder.path());
    let (status, text) = bench.post("/api/v1/apply", &apply(r#","set":["a=b"],"verb":"retry""#)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{text}");
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    let path = format!("/api/v1/orders/{}", answer["order"].as_str().unwrap());
    let (_, text) = bench.get(&path).await;
    assert!(text.contains("\"state\":\"waiting\""), "{text}");
    let delete = || request("DELETE", &path, "localhost", Some(TOKEN), "");
    assert_eq!(bench.send(delete()).await.0, StatusCode::OK);
    assert_eq!(bench.send(delete()).await.0, StatusCode::NOT_FOUND);
    assert_eq!(bench.get("/api/v1/orders/..%2Fjournal").await.0, StatusCode::NOT_FOUND);
    for (wrong, word) in [
        (r#","verb":"gc""#, "gc"),
        (r#","environment":{"A=B":"c"}"#, "A=B"),
        (r#","secrets":["NO_SUCH_SECRET_OF_CUPOLA"]"#, "--no-daemon"),
    ] {
        let (status, text) = bench.post("/api/v1/apply", &apply(wrong)).await;
        assert!(status == StatusCode::UNPROCESSABLE_ENTITY && text.contains(word), "{text}");
    }
    drop(held);
    let (_, text) = bench.post("/api/v1/apply", &apply("")).await;
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    let id = answer["order"].as_str().unwrap();
    let expected = [format!("--order={id}"), "apply".to_owned(), "--".to_owned(), "t.yaml".to_owned()];
    assert_eq!(*bench.started.lock().unwrap(), [expected]);
    let begun = request("DELETE", &format!("/api/v1/orders/{id}"), "localhost", Some(TOKEN), "");
    let (status, text) = bench.send(begun).await;
    assert!(status == StatusCode::CONFLICT && text.contains("has begun"), "{text}");
}

#[tokio::test]
async fn the_events_of_a_run_that_ended_are_one_end() {
    let bench = bench();
    let (status, text) = bench.get("/api/v1/runs/tiny-1/events").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(text.matches("event: end").count(), 1, "{text}");
    assert!(!text.contains("event: run"));
}

/// Ids of the events of a stream, until there are `count` of them.
async fn ids(bench: &Bench, last: &str, count: usize) -> Vec<u64> {
    let mut request = request("GET", "/api/v1/events", "localhost", Some(TOKEN), "");
    if !last.is_empty() {
        request.headers_mut().insert("last-event-id", last.parse().unwrap());
    }
    let response = bench.app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut stream = response.into_body().into_data_stream();
    let mut text = String::new();
    while text.matches("id: ").count() < count {
        let next = tokio::time::timeout(Duration::from_secs(20), stream.next()).await;
        text.push_str(std::str::from_utf8(&next.unwrap().unwrap().unwrap()).unwrap());
    }
    text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
}

#[tokio::test]
async fn a_client_that_comes_back_with_its_last_id_loses_no_record_and_gets_none_twice() {
    let bench = bench();
    let dir = StateDir::new(bench.folder.path());
    let note = |key: &str| {
        let fact = Fact::Noted { topic: "t".into(), key: key.into(), value: true.into() };
        let mut state = State::open(&dir, "test").unwrap();
        state.record(vec![fact]).unwrap();
        state.projection().seq()
    };
    let end = note("a");
    let mut seen = ids(&bench, "0", 2).await;
    let last = seen.last().unwrap().to_string();
    seen.extend(ids(&bench, &last, end as usize - seen.len()).await);
    assert_eq!(seen, (1..=end).collect::<Vec<_>>());
    // What is recorded while a client listens comes, too; one that names no record hears of nothing older.
    let (heard, now) = tokio::join!(ids(&bench, "", 1), async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        note("b")
    });
    assert!(heard.iter().all(|id| *id > end) && heard[0] == end + 1 && now > end, "{heard:?}");
    for wrong in ["x", "999999"] {
        let mut request = request("GET", "/api/v1/events", "localhost", Some(TOKEN), "");
        request.headers_mut().insert("last-event-id", wrong.parse().unwrap());
        assert_eq!(bench.send(request).await.0, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
}
