//! Overload, clients that hang up, and the same bytes alone and in traffic.

use std::time::{Duration, Instant};

use axum::http::header;
use futures::StreamExt;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::fixture::{Fixture, chat, with};

/// A stream that would run to the end of the context.
pub(crate) fn long_stream(seed: u64) -> Value {
    json!({"model": "tiny", "messages": [{"role": "user", "content": "x"}], "stream": true, "ignore_eos": true, "seed": seed})
}

async fn wait_for_metric(fixture: &Fixture, line: &str) {
    let started = Instant::now();
    loop {
        let page = fixture.get("/metrics").await.text;
        if page.lines().any(|seen| seen == line) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "no {line:?} in\n{page}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_full_line_is_a_429_that_says_when_to_come_again() {
    let fixture = Fixture::patient(|config| {
        config.max_slots = 1;
        config.max_queue = 1;
    });
    let running = fixture.open("/v1/chat/completions", &long_stream(1)).await;
    let waiting = fixture.open("/v1/chat/completions", &long_stream(2)).await;
    let refused = fixture.post("/v1/chat/completions", &chat("Hi")).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.json()["error"]["code"], "queue_full");
    let secs: u64 = refused.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&secs));
    let millis: u64 = refused.headers["retry-after-ms"].to_str().unwrap().parse().unwrap();
    assert!((50..=60_000).contains(&millis) && secs == millis.div_ceil(1000));
    assert_eq!(refused.headers["x-should-retry"], "true");
    assert_eq!(refused.headers["x-ratelimit-limit-requests"], "2");
    assert_eq!(refused.headers["x-ratelimit-remaining-requests"], "0");
    drop((running, waiting));
    let accepted = fixture.post("/v1/chat/completions", &chat("Hi")).await;
    assert_eq!(accepted.status, 200, "{}", accepted.text);
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_slot() {
    let fixture = Fixture::patient(|config| config.max_slots = 1);
    let stream = fixture.open("/v1/chat/completions", &long_stream(1)).await;
    drop(stream);
    wait_for_metric(&fixture, "vllm:num_requests_running{model_name=\"tiny\"} 0").await;
    wait_for_metric(&fixture, "cupola_cancelled_answers_total{model_name=\"tiny\"} 1").await;
    assert_eq!(fixture.post("/v1/chat/completions", &chat("Hi")).await.status, 200);
}

#[tokio::test]
async fn the_same_request_gives_the_same_bytes_alone_and_in_traffic() {
    let fixture = Fixture::new();
    let request = with(
        &chat("Repeat after me"),
        &json!({"logprobs": true, "top_logprobs": 3, "max_tokens": 60, "ignore_eos": true}),
    );
    let choices = |answer: Value| answer["choices"].to_string();
    let alone = choices(fixture.post("/v1/chat/completions", &request).await.json());
    for round in 0..4u64 {
        // Others of other lengths run before, beside and behind it, so it sits in another slot each time.
        let mut streams = Vec::new();
        for other in 0..round {
            let prompt =
                json!({"messages": [{"role": "user", "content": "o".repeat(other as usize * 13 + 1)}]});
            streams.push(fixture.open("/v1/chat/completions", &with(&long_stream(other), &prompt)).await);
        }
        let more = (0..3).map(|seed| with(&chat("Other"), &json!({"seed": seed, "max_tokens": 30})));
        let others = join_all(more.map(|body| {
            let fixture = &fixture;
            async move { fixture.post("/v1/chat/completions", &body).await.status }
        }));
        let busy = async {
            let mut streams = futures::stream::select_all(streams);
            while streams.next().await.is_some() {}
        };
        let (answer, statuses, ()) =
            tokio::join!(fixture.post("/v1/chat/completions", &request), others, busy);
        assert!(statuses.iter().all(|status| *status == 200));
        assert_eq!(choices(answer.json()), alone, "round {round}");
    }
}
