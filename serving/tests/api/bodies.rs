//! Bodies over the limit, sent whole by clients that do not listen before they are through.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::fixture::{Fixture, read_to_end};

const LENGTH: usize = 100 << 20;

fn head(length: &str) -> Vec<u8> {
    format!("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{length}\r\n\r\n")
        .into_bytes()
}

fn error_of(answer: &str, status: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
    serde_json::from_str::<Value>(body).unwrap()["error"]["code"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_over_the_limit_is_refused_before_any_of_it_is_read() {
    let fixture = Fixture::new();
    let live = fixture.listen().await;
    let started = Instant::now();
    let mut socket = live.connect().await;
    socket.write_all(&head(&format!("content-length: {LENGTH}"))).await.unwrap();
    // It waits for nothing: no byte of the body is sent.
    let answer = read_to_end(&mut socket).await;
    assert_eq!(error_of(&answer, "413"), "request_too_large");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    // A client that asks first is told before it sends.
    let mut socket = live.connect().await;
    socket.write_all(&head(&format!("expect: 100-continue\r\ncontent-length: {LENGTH}"))).await.unwrap();
    assert_eq!(error_of(&read_to_end(&mut socket).await, "413"), "request_too_large");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_sent_whole_get_their_answer_and_no_reset() {
    let fixture = Fixture::with(|config| config.api_key = Some("secret".into()));
    let live = fixture.listen().await;
    let part = vec![b' '; 1 << 20];
    let key = "authorization: Bearer secret\r\n";
    for (length, is_chunked, status) in [
        (format!("{key}content-length: {LENGTH}"), false, "413"),
        (format!("{key}transfer-encoding: chunked"), true, "413"),
        // Nobody reads the body of one who has no key.
        ("content-length: 104857600".to_owned(), false, "401"),
    ] {
        let mut socket = live.connect().await;
        socket.write_all(&head(&length)).await.unwrap();
        for _ in 0..LENGTH / part.len() {
            if is_chunked {
                socket.write_all(b"100000\r\n").await.unwrap();
            }
            socket.write_all(&part).await.unwrap();
            if is_chunked {
                socket.write_all(b"\r\n").await.unwrap();
            }
        }
        if is_chunked {
            socket.write_all(b"0\r\n\r\n").await.unwrap();
        }
        let answer = read_to_end(&mut socket).await;
        let code = if status == "401" { "invalid_api_key" } else { "request_too_large" };
        assert_eq!(error_of(&answer, status), code);
    }
    // Through a client's library, whose connection is kept for the next request.
    let url = format!("http://{}/v1/chat/completions", live.address);
    let client = reqwest::Client::new();
    let body = vec![b' '; LENGTH];
    let send =
        client.post(url).bearer_auth("secret").header("content-type", "application/json").body(body).send();
    assert_eq!(send.await.unwrap().status(), 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_ends_its_body_is_parted_with() {
    let fixture = Fixture::with(|config| config.connections.header_timeout = Duration::from_secs(2));
    let live = fixture.listen().await;
    let mut socket = live.connect().await;
    socket.write_all(&head(&format!("content-length: {}", 1_u64 << 40))).await.unwrap();
    let started = Instant::now();
    // It goes on sending and listens to nothing.
    while socket.write_all(&[b' '; 4096]).await.is_ok() {
        assert!(started.elapsed() < Duration::from_secs(20), "it is still read");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    // One that falls silent is not waited for that long.
    let mut socket = live.connect().await;
    socket.write_all(&head("content-length: 999999999")).await.unwrap();
    let answer = read_to_end(&mut socket).await;
    assert_eq!(error_of(&answer, "413"), "request_too_large");
}
