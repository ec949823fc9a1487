//! Spans of requests, as a collector gets them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Request, header};
use axum::routing::post;
use cupola_serving::Stop;
use futures::StreamExt;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{CONTEXT, Fixture, chat, read_to_end, with};
use crate::load::long_stream;

const CHAT: &str = "/v1/chat/completions";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// `StatusCode::Error` of the protocol.
const ERROR: i32 = 2;

/// A collector on loopback, and all it was sent.
struct Collector {
    address: String,
    got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

impl Collector {
    async fn start() -> Self {
        let got = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&got);
        let take =
            move |headers: HeaderMap, body: Bytes| async move { kept.lock().unwrap().push((headers, body)) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, got }
    }

    fn messages(&self) -> Vec<ExportTraceServiceRequest> {
        let got = self.got.lock().unwrap();
        got.iter().map(|(_, body)| ExportTraceServiceRequest::decode(body.clone()).unwrap()).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let resources = self.messages().into_iter().flat_map(|message| message.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// The span of a request, by its id.
    fn of_request(&self, id: &str) -> Span {
        let is_it = |span: &Span| attributes(span).get("cupola.request_id") == Some(&json!(id));
        self.spans().into_iter().find(is_it).unwrap_or_else(|| panic!("no span of {id}"))
    }

    /// The parts of a span, by their names.
    fn parts(&self, parent: &Span) -> BTreeMap<String, Span> {
        let parts = self.spans().into_iter().filter(|span| span.parent_span_id == parent.span_id);
        parts.map(|span| (span.name.clone(), span)).collect()
    }

    fn holds(&self, text: &str) -> bool {
        let found = |body: &Bytes| body.windows(text.len()).any(|window| window == text.as_bytes());
        self.got.lock().unwrap().iter().any(|(_, body)| found(body))
    }
}

fn attributes(span: &Span) -> BTreeMap<String, Value> {
    let value = |any: &Any| match any {
        Any::StringValue(text) => json!(text),
        Any::IntValue(number) => json!(number),
        Any::BoolValue(flag) => json!(flag),
        Any::ArrayValue(array) => array
            .values
            .iter()
            .map(|value| match &value.value {
                Some(Any::StringValue(text)) => json!(text),
                other => panic!("{other:?}"),
            })
            .collect(),
        other => panic!("{other:?}"),
    };
    let attributes = span.attributes.iter();
    attributes
        .map(|pair| (pair.key.clone(), value(pair.value.as_ref().unwrap().value.as_ref().unwrap())))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == ERROR)
}

fn request(path: &str, id: &str, body: &Value) -> axum::http::request::Builder {
    assert!(body.is_object());
    Request::post(path).header(header::CONTENT_TYPE, "application/json").header("x-request-id", id)
}

async fn send(fixture: &Fixture, path: &str, id: &str, body: &Value) -> u16 {
    let request = request(path, id, body).body(body.to_string().into()).unwrap();
    fixture.send(request).await.status.as_u16()
}

/// Stops a server, so that all spans are sent.
async fn stop(fixture: &Fixture) {
    let live = fixture.listen().await;
    live.stop.send(Stop::AtOnce).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), live.ended).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_a_span_of_its_caller_with_its_numbers_and_parts_and_no_text() {
    let collector = Collector::start().await;
    let fixture = Fixture::with(|config| {
        config.collector = Some(format!("{}/", collector.address));
        config.api_key = Some("sesame-key".into());
    });
    let body =
        with(&chat("My secret plan"), &json!({"stream": true, "stream_options": {"include_usage": true}}));
    let request = request(CHAT, "streamed", &body)
        .header(header::AUTHORIZATION, "Bearer sesame-key")
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .header("tracestate", "a=1,b=2");
    let reply = fixture.send(request.body(body.to_string().into()).unwrap()).await;
    let chunks = reply.chunks();
    let usage = &chunks.last().unwrap()["usage"];
    let answer: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert!(answer.len() > 8 && usage["completion_tokens"].as_u64().unwrap() > 1, "{}", reply.text);
    assert_eq!(send(&fixture, CHAT, "without-a-key", &body).await, 401);
    assert_eq!(fixture.get("/health").await.status, 200);
    stop(&fixture).await;

    let span = collector.of_request("streamed");
    assert_eq!((span.name.as_str(), span.kind()), ("POST /v1/chat/completions", SpanKind::Server));
    assert_eq!((hex(&span.trace_id).as_str(), hex(&span.parent_span_id).as_str()), (TRACE, PARENT));
    assert_eq!(span.trace_state, "a=1,b=2");
    assert!(!is_error(&span));
    let finish = if usage["completion_tokens"] == 24 { "length" } else { "stop" };
    let fingerprint = &chunks[0]["system_fingerprint"];
    let mut expected = json!({
        "http.request.method": "POST", "http.route": CHAT, "http.response.status_code": 200, "url.path": CHAT, "url.scheme": "http",
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "cupola", "gen_ai.request.model": "tiny", "gen_ai.response.model": "tiny",
        "gen_ai.usage.input_tokens": usage["prompt_tokens"], "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "gen_ai.response.finish_reasons": [finish], "cupola.request_id": "streamed", "enduser.id": "api-key",
    });
    if !fingerprint.is_null() {
        expected["openai.response.system_fingerprint"] = fingerprint.clone();
    }
    assert_eq!(json!(attributes(&span)), expected);
    let parts = collector.parts(&span);
    assert_eq!(parts.keys().collect::<Vec<_>>(), ["decoding", "prompt"]);
    let (prompt, decoding) = (&parts["prompt"], &parts["decoding"]);
    let times = [
        span.start_time_unix_nano,
        prompt.start_time_unix_nano,
        prompt.end_time_unix_nano,
        decoding.start_time_unix_nano,
        decoding.end_time_unix_nano,
        span.end_time_unix_nano,
    ];
    assert!(times.is_sorted() && times[1] < times[2] && times[3] < times[4], "{times:?}");
    assert_eq!(times[2], times[3], "the first token ends the one and begins the other");
    assert_eq!(hex(&decoding.trace_id), TRACE);

    let refused = collector.of_request("without-a-key");
    let of_refused = attributes(&refused);
    assert_eq!(of_refused["http.response.status_code"], 401);
    assert!(!is_error(&refused) && !of_refused.contains_key("enduser.id"), "{of_refused:?}");
    assert!(hex(&refused.trace_id) != TRACE && refused.parent_span_id.is_empty());
    assert_eq!(collector.spans().len(), 4, "of generating routes alone");
    for text in ["My secret plan", "sesame-key", answer.as_str()] {
        assert!(!collector.holds(text), "{text:?} is in what the collector got");
    }
    let resource = format!("{:?}", collector.messages()[0].resource_spans[0].resource);
    assert!(resource.contains("service.name") && resource.contains("cupola-serve"), "{resource}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_generating_route_has_its_operation_and_a_caller_that_does_not_sample_is_heard() {
    let collector = Collector::start().await;
    let fixture = Fixture::with(|config| config.collector = Some(collector.address.clone()));
    let text = json!({"model": "tiny", "prompt": "ab", "max_tokens": 3, "ignore_eos": true, "n": 2});
    let response = json!({"model": "tiny", "input": "ab", "max_output_tokens": 16});
    let vector = json!({"model": "tiny", "input": ["ab", "xyz"]});
    let lost = json!({"model": "nowhere", "input": "ab"});
    assert_eq!(send(&fixture, "/v1/completions", "of-text", &text).await, 200);
    assert_eq!(send(&fixture, "/v1/responses", "of-response", &response).await, 200);
    assert_eq!(send(&fixture, "/v1/embeddings", "of-vector", &vector).await, 200);
    assert_eq!(send(&fixture, "/v1/embeddings", "of-nothing", &lost).await, 404);
    let body = chat("Hi");
    for (id, parent) in [("not-sampled", "00"), ("sampled", "03")] {
        let request = request(CHAT, id, &body).header("traceparent", format!("00-{TRACE}-{PARENT}-{parent}"));
        assert_eq!(fixture.send(request.body(body.to_string().into()).unwrap()).await.status, 200);
    }
    stop(&fixture).await;

    let of = |id: &str| attributes(&collector.of_request(id));
    let of_text = of("of-text");
    assert_eq!(of_text["gen_ai.operation.name"], "text_completion");
    assert_eq!(of_text["gen_ai.usage.output_tokens"], 6, "of both answers");
    assert_eq!(of_text["gen_ai.response.finish_reasons"], json!(["length"]));
    assert_eq!(of("of-response")["gen_ai.operation.name"], "chat");
    let of_vector = of("of-vector");
    assert_eq!(
        (&of_vector["gen_ai.operation.name"], &of_vector["gen_ai.usage.input_tokens"]),
        (&json!("embeddings"), &json!(7))
    );
    assert!(!of_vector.contains_key("gen_ai.usage.output_tokens"), "{of_vector:?}");
    let of_nothing = of("of-nothing");
    assert_eq!(of_nothing["http.response.status_code"], 404);
    assert!(
        !of_nothing.contains_key("gen_ai.request.model"),
        "a name that is not served is the client's text"
    );
    assert_eq!(hex(&collector.of_request("sampled").trace_id), TRACE);
    assert!(!collector.holds("not-sampled"), "a caller's flag is honoured");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_cut_short_says_by_whom() {
    let collector = Collector::start().await;
    let fixture = Fixture::patient(|config| {
        config.collector = Some(collector.address.clone());
        config.limits.time = Duration::from_millis(300);
    });
    assert_eq!(send(&fixture, CHAT, "out-of-time", &long_stream(1)).await, 200);
    let whole = with(&long_stream(2), &json!({"stream": false}));
    assert_eq!(send(&fixture, CHAT, "out-of-time-whole", &whole).await, 504);
    let body = long_stream(3);
    let request = request(CHAT, "hung-up", &body).body(axum::body::Body::from(body.to_string())).unwrap();
    let response = tower::ServiceExt::oneshot(fixture.router.clone(), request).await.unwrap();
    let mut stream = response.into_body().into_data_stream();
    while !String::from_utf8_lossy(&stream.next().await.unwrap().unwrap()).contains("\"content\":\"\"") {}
    stream.next().await.unwrap().unwrap();
    drop(stream);
    stop(&fixture).await;

    let ended = collector.of_request("out-of-time");
    let of_ended = attributes(&ended);
    assert!(is_error(&ended));
    assert_eq!(
        (&of_ended["error.type"], &of_ended["http.response.status_code"]),
        (&json!("time_limit_exceeded"), &json!(200))
    );
    let whole = collector.of_request("out-of-time-whole");
    assert!(is_error(&whole));
    assert_eq!(attributes(&whole)["error.type"], "504");
    let gone = collector.of_request("hung-up");
    let of_gone = attributes(&gone);
    assert!(!is_error(&gone) && !of_gone.contains_key("error.type"), "{of_gone:?}");
    assert_eq!(
        (&of_gone["cupola.client_gone"], &of_gone["gen_ai.response.finish_reasons"]),
        (&json!(true), &json!(["abort"]))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_slows_no_request_and_the_end_by_its_bound_alone() {
    // Bound and never served: connections are taken by the kernel, and nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let plain = Fixture::new();
    let traced = Fixture::with(|config| config.collector = Some(address));
    // 3 spans a request: more than the queue holds.
    let body = with(&chat("Hi"), &json!({"max_tokens": 1}));
    let mut took = [Duration::ZERO; 2];
    for _ in 0..800 {
        for (fixture, took) in [&plain, &traced].into_iter().zip(&mut took) {
            let since = Instant::now();
            assert_eq!(send(fixture, CHAT, "of-many", &body).await, 200);
            *took += since.elapsed();
        }
    }
    println!("800 requests without a collector {:?}, with one that never answers {:?}", took[0], took[1]);
    assert!(took[1] < took[0] * 2, "{took:?}");
    let live = traced.listen().await;
    let since = Instant::now();
    live.stop.send(Stop::AtOnce).await.unwrap();
    live.ended.await.unwrap();
    let ended = since.elapsed();
    assert!(ended > Duration::from_secs(2) && ended < Duration::from_secs(5), "the end took {ended:?}");
}

/// The program with variables of OpenTelemetry.
fn start_program(fixture: &Fixture, options: &[&str], variables: &[(&str, &str)]) -> (Child, String) {
    let model = format!("tiny={}", fixture.config.models[0].path.to_str().unwrap());
    let mut server = Command::new(env!("CARGO_BIN_EXE_cupola-serve"))
        .args(["--model", &model, "--listen", "127.0.0.1:0", "--threads", "1", "--drain-notice-secs", "0"])
        .args(["--context", &CONTEXT.to_string()])
        .args(options)
        .envs(variables.iter().copied())
        .env_remove("CUPOLA_API_KEY")
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.strip_prefix("listening on http://").unwrap().split(' ').next().unwrap().to_owned();
    (server, address)
}

async fn ask(address: &str) {
    let body = chat("Hi").to_string();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all((head + &body).as_bytes()).await.unwrap();
    let seen = read_to_end(&mut socket).await;
    assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");
}

/// Stops the program and gives what it logged.
async fn end_program(mut server: Child) -> String {
    let killed = Command::new("kill").args(["-TERM", &server.id().to_string()]).status().unwrap();
    assert!(killed.success());
    tokio::task::spawn_blocking(move || {
        let mut log = String::new();
        server.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(server.wait().unwrap().success(), "{log}");
        log
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_collector_is_told_once_and_what_it_missed_is_counted() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let fixture = Fixture::new();
    let options = ["--otlp-endpoint", address.as_str()];
    let (server, served) = start_program(&fixture, &options, &[("OTEL_BSP_SCHEDULE_DELAY", "50")]);
    for _ in 0..4 {
        ask(&served).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let log = end_program(server).await;
    assert_eq!(log.matches("spans can't be sent to").count(), 1, "{log}");
    assert_eq!(log.matches("the collector did not take 12 spans").count(), 1, "{log}");
    let traced = log.lines().filter(|line| line.contains("trace_id=\"")).count();
    assert_eq!(traced, 4, "the log's lines have the traces' ids: {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_sends_spans_with_the_headers_of_the_environment_and_nothing_without_the_option() {
    let collector = Collector::start().await;
    let fixture = Fixture::new();
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=s3cret");
    let (server, served) = start_program(
        &fixture,
        &["--otlp-endpoint", &collector.address],
        &[headers, ("OTEL_SERVICE_NAME", "mine")],
    );
    ask(&served).await;
    let log = end_program(server).await;
    assert!(!log.contains("WARN") && !log.contains("s3cret"), "{log}");
    assert_eq!(collector.spans().len(), 3);
    assert_eq!(collector.got.lock().unwrap()[0].0["x-collector-key"], "s3cret");
    assert!(format!("{:?}", collector.messages()[0].resource_spans[0].resource).contains("mine"));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let elsewhere = format!("http://{}", listener.local_addr().unwrap());
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", elsewhere.as_str()), headers];
    let (server, served) = start_program(&fixture, &[], &variables);
    ask(&served).await;
    let log = end_program(server).await;
    assert!(!log.contains("trace_id"), "{log}");
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody came");
}
