//! Spans of requests, as a collector gets them.

mod collector;
mod program;

use std::time::{Duration, Instant};

use axum::http::{HeaderValue, Request, header};
use cupola_serving::Stop;
use futures::StreamExt;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use self::collector::{Collector, attributes};
use crate::fixture::{Fixture, chat, with};
use crate::load::long_stream;

const CHAT: &str = "/v1/chat/completions";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// `StatusCode::Error` of the protocol.
const ERROR: i32 = 2;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
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

/// A whole answer's parts follow each other within its span, with what they took.
fn check_parts(collector: &Collector, span: &Span, usage: &Value) {
    let parts = collector.parts(span);
    assert_eq!(parts.keys().collect::<Vec<_>>(), ["decode", "prefill", "queue"]);
    let [queue, prefill, decode] = ["queue", "prefill", "decode"].map(|name| &parts[name]);
    let ends = |span: &Span| [span.start_time_unix_nano, span.end_time_unix_nano];
    let times = [
        [span.start_time_unix_nano; 2],
        ends(queue),
        ends(prefill),
        ends(decode),
        [span.end_time_unix_nano; 2],
    ];
    assert!(times.as_flattened().is_sorted(), "{times:?}");
    assert!(times[2][0] < times[2][1] && times[3][0] < times[3][1], "{times:?}");
    assert_eq!(
        (times[1][1], times[2][1]),
        (times[2][0], times[3][0]),
        "each begins where the one before it ends"
    );
    assert_eq!(json!(attributes(queue)), json!({}));
    let of_prompt = json!({"cupola.prompt_tokens": usage["prompt_tokens"], "cupola.cached_tokens": 0});
    assert_eq!(json!(attributes(prefill)), of_prompt);
    assert_eq!(json!(attributes(decode)), json!({"cupola.answer_tokens": usage["completion_tokens"]}));
    assert_eq!(hex(&decode.trace_id), TRACE);
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
    check_parts(&collector, &span, usage);

    let refused = collector.of_request("without-a-key");
    let of_refused = attributes(&refused);
    assert_eq!(of_refused["http.response.status_code"], 401);
    assert!(!is_error(&refused) && !of_refused.contains_key("enduser.id"), "{of_refused:?}");
    assert!(hex(&refused.trace_id) != TRACE && refused.parent_span_id.is_empty());
    assert_eq!(collector.spans().len(), 5, "of generating routes alone");
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
async fn a_caller_that_can_not_be_read_is_none_and_fails_nothing() {
    let collector = Collector::start().await;
    let fixture = Fixture::with(|config| config.collector = Some(collector.address.clone()));
    let body = chat("Hi");
    let good = format!("00-{TRACE}-{PARENT}-01");
    let named = |text: &str| HeaderValue::from_str(text).unwrap();
    let callers = [
        ("empty", vec![named("")]),
        ("a-word", vec![named("my-trace")]),
        ("upper-case", vec![named(&good.to_uppercase())]),
        ("too-short", vec![named(&good[..good.len() - 1])]),
        ("too-long", vec![named(&format!("{good}-00"))]),
        ("no-trace", vec![named(&format!("00-{}-{PARENT}-01", "0".repeat(32)))]),
        ("no-parent", vec![named(&format!("00-{TRACE}-{}-01", "0".repeat(16)))]),
        ("no-version", vec![named(&format!("ff{}", &good[2..]))]),
        ("no-text", vec![HeaderValue::from_bytes(b"00-\xff\xfe").unwrap()]),
        ("twice", vec![named(&good), named(&good)]),
        ("without", vec![]),
    ];
    for (id, parents) in &callers {
        let mut request = request(CHAT, id, &body).header("tracestate", "a=1");
        for parent in parents {
            request = request.header("traceparent", parent);
        }
        assert_eq!(fixture.send(request.body(body.to_string().into()).unwrap()).await.status, 200, "{id}");
    }
    stop(&fixture).await;
    let mut traces = std::collections::BTreeSet::new();
    for (id, _) in &callers {
        let span = collector.of_request(id);
        assert!(span.parent_span_id.is_empty() && span.trace_state.is_empty(), "{id}: {span:?}");
        assert_ne!(hex(&span.trace_id), TRACE, "{id}");
        assert!(traces.insert(span.trace_id), "{id} has a trace of its own");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_in_line_is_a_part_of_its_own_and_what_never_began_has_no_other() {
    let collector = Collector::start().await;
    let fixture = Fixture::patient(|config| {
        config.collector = Some(collector.address.clone());
        config.max_slots = 1;
    });
    let running = fixture.open(CHAT, &long_stream(1)).await;
    let short = with(&chat("Hi"), &json!({"max_tokens": 2, "ignore_eos": true}));
    let waits = send(&fixture, CHAT, "waited", &short);
    let leaves = tokio::time::timeout(Duration::from_millis(150), send(&fixture, CHAT, "left", &short));
    let frees = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(running);
    };
    let (waited, left, ()) = tokio::join!(waits, leaves, frees);
    assert_eq!(waited, 200);
    assert!(left.is_err(), "it was in line until its client went");
    stop(&fixture).await;

    let millis = |span: &Span| (span.end_time_unix_nano - span.start_time_unix_nano) / 1_000_000;
    let parts = collector.parts(&collector.of_request("waited"));
    assert_eq!(parts.keys().collect::<Vec<_>>(), ["decode", "prefill", "queue"]);
    assert!(millis(&parts["queue"]) >= 250, "{parts:?}");
    assert!(millis(&parts["prefill"]) + millis(&parts["decode"]) < millis(&parts["queue"]), "{parts:?}");
    let left = collector.of_request("left");
    let parts = collector.parts(&left);
    assert_eq!(parts.keys().collect::<Vec<_>>(), ["queue"]);
    assert!((100..250).contains(&millis(&parts["queue"])), "{parts:?}");
    let of_left = attributes(&left);
    assert_eq!(of_left["cupola.client_gone"], true);
    assert!(!of_left.contains_key("http.response.status_code"), "{of_left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_prompt_counts_once_and_a_refused_one_has_no_parts() {
    let collector = Collector::start().await;
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("moderation.yaml");
    let lists =
        "refusal: Not here.\nblock_lists:\n  - {category: weapons, phrases: [pipe bomb], scope: both}\n";
    std::fs::write(&rules, lists).unwrap();
    let fixture = Fixture::with(|config| {
        config.collector = Some(collector.address.clone());
        config.moderation_file = Some(rules);
    });
    let text =
        json!({"model": "tiny", "prompt": "a".repeat(80), "n": 3, "max_tokens": 2, "ignore_eos": true});
    let mut usages = Vec::new();
    for id in ["first", "again"] {
        let request = request("/v1/completions", id, &text).body(text.to_string().into()).unwrap();
        usages.push((id, fixture.send(request).await.json()["usage"].take()));
    }
    assert_eq!(send(&fixture, CHAT, "refused", &chat("How is a pipe bomb made?")).await, 200);
    stop(&fixture).await;

    for (id, usage) in usages {
        let of_it = attributes(&collector.of_request(id));
        let cached = of_it.get("gen_ai.usage.cache_read.input_tokens").cloned().unwrap_or_else(|| json!(0));
        assert_eq!(cached, usage["prompt_tokens_details"]["cached_tokens"], "{id}");
        assert_eq!(of_it["gen_ai.usage.input_tokens"], usage["prompt_tokens"], "{id}");
        assert_eq!(of_it["gen_ai.usage.output_tokens"], 6, "{id}");
        assert_eq!(id == "again", cached.as_u64().unwrap() >= 32, "{id}: {cached}");
    }
    let refused = collector.of_request("refused");
    assert_eq!(attributes(&refused)["gen_ai.response.finish_reasons"], json!(["content_filter"]));
    assert!(collector.parts(&refused).is_empty());
    assert!(!collector.holds("pipe bomb"));
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
    // 4 spans a request: more than the queue holds.
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
    let page = traced.get("/metrics").await.text;
    let number = |name: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse::<u64>().unwrap()
    };
    let [sent, failed, dropped] = ["sent", "failed", "dropped"]
        .map(|result| number(&format!("cupola_spans_total{{result=\"{result}\"}}")));
    let waiting = number("cupola_spans_waiting");
    assert_eq!((sent, waiting + failed + dropped), (0, 3200), "{page}");
    assert!(waiting <= 2048 && dropped > 0, "{page}");
    assert!(!plain.get("/metrics").await.text.contains("cupola_spans"), "where none are sent");
    let live = traced.listen().await;
    let since = Instant::now();
    live.stop.send(Stop::AtOnce).await.unwrap();
    live.ended.await.unwrap();
    let ended = since.elapsed();
    assert!(ended > Duration::from_secs(2) && ended < Duration::from_secs(5), "the end took {ended:?}");
}
