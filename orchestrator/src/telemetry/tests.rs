use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use cupola_otlp::{Spans, Traces};
use cupola_specs::contract::{ErrorClass, Failure};
use tracing_subscriber::fmt::MakeWriter;

use super::config::Format;
use super::*;
use crate::state::{AttemptOutcome, Fact, Record, RunState, StepMove};

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Memory {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn config(filter: &str, format: Format) -> Config {
    Config { filter: filter.into(), format, is_colored: false, traces: None, problems: Vec::new() }
}

/// The facts of a run whose only step fails once, by the network, and then for good.
fn facts() -> Vec<Fact> {
    let (run, step) = ("t-1".to_owned(), "base".to_owned());
    let failure = Failure {
        class: ErrorClass::Transient,
        code: "network".into(),
        message: "try again".into(),
        hint: String::new(),
    };
    let intended = |number: u32| Fact::AttemptIntended {
        run: run.clone(),
        step: step.clone(),
        number,
        token: format!("1.{number}"),
        dir: "x".into(),
    };
    let ended = |number: u32| Fact::AttemptEnded {
        run: run.clone(),
        step: step.clone(),
        token: format!("1.{number}"),
        outcome: AttemptOutcome::Failed { failure: failure.clone() },
        peak_rss_bytes: 0,
        cpu_millis: 0,
    };
    let moved = |to: StepMove| Fact::StepMoved { run: run.clone(), step: step.clone(), to };
    let created = Fact::RunCreated {
        run: run.clone(),
        spec_name: "t".into(),
        spec_path: "t.yaml".into(),
        plan_hash: String::new(),
    };
    vec![
        created,
        intended(1),
        ended(1),
        moved(StepMove::Backoff { until_millis: 5 }),
        intended(2),
        ended(2),
        moved(StepMove::Failed { failure: failure.clone() }),
        Fact::RunMoved { run: run.clone(), state: RunState::Failed },
    ]
}

fn tell(facts: Vec<Fact>) {
    let mut spans = FactSpans::default();
    for (at, fact) in facts.into_iter().enumerate() {
        spans.take(&Record { seq: at as u64 + 1, at_millis: 0, fact, offset: 0 });
    }
}

#[test]
fn facts_are_events_in_their_order_inside_their_spans() {
    let memory = Memory::default();
    let subscriber = tracing_subscriber::registry()
        .with(log::layer(&config("info", Format::Json), memory.clone()).unwrap());
    tracing::subscriber::with_default(subscriber, || tell(facts()));
    let lines: Vec<serde_json::Value> =
        memory.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<String> = lines.iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect();
    let expected = [
        "run created",
        "attempt submitted",
        "attempt ended",
        "step waits for its next attempt",
        "attempt submitted",
        "attempt ended",
        "step failed",
        "run moved",
    ];
    assert_eq!(told, expected);
    let span = |line: &serde_json::Value| line["span"]["name"].as_str().map(str::to_owned);
    let spans: Vec<_> = lines.iter().take(4).filter_map(span).collect();
    assert_eq!(spans, ["run", "attempt", "attempt", "step"]);
    assert_eq!((lines[2]["code"].as_str(), lines[2]["token"].as_str()), (Some("network"), Some("1.1")));
}

#[test]
fn a_text_line_has_the_local_time_and_a_quiet_filter_writes_nothing() {
    let (loud, quiet) = (Memory::default(), Memory::default());
    for (filter, memory) in [("info", &loud), ("warn", &quiet)] {
        let layer = log::layer(&config(filter, Format::Text), memory.clone()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || tell(facts()));
    }
    assert_eq!(quiet.text(), "");
    let first = loud.text().lines().next().unwrap().to_owned();
    assert!(
        regex::Regex::new(r"^\d\d:\d\d:\d\d\.\d{3} +INFO .*run created").unwrap().is_match(&first),
        "{first}"
    );
}

/// A collector on loopback: what it was sent, with the path and the type of each.
async fn collector() -> (String, Arc<Mutex<Vec<(String, Bytes)>>>) {
    let got = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&got);
    let take = move |headers: HeaderMap, body: Bytes| async move {
        let kind = headers.get("content-type").unwrap().to_str().unwrap().to_owned();
        kept.lock().unwrap().push((kind, body));
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}/v1/traces"), got)
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_the_spans_of_a_run_and_the_callers_trace() {
    let (endpoint, got) = collector().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let sent = tokio::task::spawn_blocking(move || {
        let spans = Spans::to(&Traces { endpoint, service: Some("cupola") }).unwrap();
        let subscriber = tracing_subscriber::registry().with(otlp::layer(&spans));
        let header = tracing::subscriber::with_default(subscriber, || {
            let command = tracing::info_span!("command");
            otlp::join(&command, &format!("00-{trace}-b7ad6b7169203331-01"), "");
            let header = traceparent(&command).unwrap();
            command.in_scope(|| tell(facts()));
            assert_eq!(command.in_scope(trace_id).as_deref(), Some(trace));
            header
        });
        drop(Telemetry { spans: Some(spans) });
        header
    });
    let header = sent.await.unwrap();
    assert!(header.starts_with(&format!("00-{trace}-")) && header.ends_with("-01"), "{header}");
    let got = got.lock().unwrap();
    let (kind, body) = got.first().unwrap();
    assert_eq!(kind, "application/x-protobuf");
    for text in
        ["cupola", "run t-1", "step base", "attempt 1 of base", "attempt 2 of base", "network", "command"]
    {
        assert!(contains(body, text), "{text} is not in what the collector got");
    }
    let id: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&trace[2 * at..2 * at + 2], 16).unwrap()).collect();
    assert!(body.windows(16).any(|window| window == id), "the spans are of the caller's trace");
}

#[test]
fn an_unreachable_collector_costs_at_most_the_flush() {
    // Bound and never served: connections are taken by the kernel, and nobody answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let spans = Spans::to(&Traces { endpoint, service: None }).unwrap();
    let subscriber = tracing_subscriber::registry().with(otlp::layer(&spans));
    let since = std::time::Instant::now();
    tracing::subscriber::with_default(subscriber, || tell(facts()));
    assert!(since.elapsed() < Duration::from_millis(500), "telling took {:?}", since.elapsed());
    drop(Telemetry { spans: Some(spans) });
    assert!(since.elapsed() < FLUSH + Duration::from_secs(1), "it took {:?}", since.elapsed());
}

#[test]
fn without_a_collector_there_is_no_trace() {
    let subscriber = tracing_subscriber::registry();
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!("command");
        assert_eq!((traceparent(&span), span.in_scope(trace_id)), (None, None));
    });
}
