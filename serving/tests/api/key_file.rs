//! The keys file while the server runs, and what keys share: nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use cupola_serving::new_key;
use serde_json::{Value, json};

use crate::fixture::{Fixture, Live, chat, wire_get, wire_post, with};

const CHAT: &str = "/v1/chat/completions";

/// A request with a key, on a connection of its own.
fn with_key(request: Vec<u8>, key: &str) -> Vec<u8> {
    let head = format!("\r\nauthorization: Bearer {key}\r\nconnection: close\r\n");
    String::from_utf8(request).unwrap().replacen("\r\n", &head, 1).into_bytes()
}

async fn status(live: &Live, key: &str) -> u16 {
    let seen = live.exchange(&with_key(wire_get("/v1/models"), key)).await;
    seen.split(' ').nth(1).unwrap().parse().unwrap()
}

async fn ask(live: &Live, key: &str, body: &Value) -> String {
    live.exchange(&with_key(wire_post(CHAT, body), key)).await
}

/// A number of `/metrics`.
async fn number(live: &Live, key: &str, name: &str) -> u64 {
    let page = live.exchange(&with_key(wire_get("/metrics"), key)).await;
    let line =
        page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {page}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Waits until the keys file was taken up, or refused, so often.
async fn wait_for(live: &Live, key: &str, result: &str, count: u64) {
    let started = Instant::now();
    while number(live, key, &format!("cupola_key_reloads_total{{result=\"{result}\"}}")).await != count {
        assert!(started.elapsed() < Duration::from_secs(10), "no reload number {count} is {result}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn append(path: &Path, text: &str) {
    let before = std::fs::read_to_string(path).unwrap();
    std::fs::write(path, before + text).unwrap();
}

#[tokio::test]
async fn keys_come_and_go_while_the_server_runs_and_a_broken_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.yaml");
    let alice = new_key(&path, "alice").unwrap();
    append(&path, "  requests_per_minute: 2\n");
    let fixture = Fixture::with(|config| config.keys_file = Some(path.clone()));
    let live = fixture.listen().await;
    assert!(ask(&live, &alice, &chat("Hi")).await.starts_with("HTTP/1.1 200"));
    // A new key is known as soon as the file has it, and nobody's limits start anew.
    let bob = new_key(&path, "bob").unwrap();
    wait_for(&live, &alice, "done", 1).await;
    assert_eq!(status(&live, &bob).await, 200);
    assert!(ask(&live, &alice, &chat("Hi")).await.starts_with("HTTP/1.1 200"));
    assert!(ask(&live, &alice, &chat("Hi")).await.starts_with("HTTP/1.1 429"), "two requests a minute");
    // What is broken is told, and changes nothing; so is a file that is gone.
    let whole = std::fs::read_to_string(&path).unwrap();
    append(&path, "- name: [\n");
    wait_for(&live, &alice, "failed", 1).await;
    assert_eq!((status(&live, &alice).await, status(&live, &bob).await), (200, 200));
    std::fs::remove_file(&path).unwrap();
    wait_for(&live, &alice, "failed", 2).await;
    assert_eq!(status(&live, &bob).await, 200);
    // A key that was taken out is let in no more; SIGHUP's word reads a file that did not change.
    let without_bob = whole.split("- name: \"bob\"").next().unwrap();
    std::fs::write(&path, without_bob).unwrap();
    wait_for(&live, &alice, "done", 2).await;
    assert_eq!((status(&live, &alice).await, status(&live, &bob).await), (200, 401));
    live.reload.send(()).await.unwrap();
    wait_for(&live, &alice, "done", 3).await;
}

#[tokio::test]
async fn two_keys_share_no_cached_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.yaml");
    let (alice, bob) = (new_key(&path, "alice").unwrap(), new_key(&path, "bob").unwrap());
    let fixture = Fixture::with(|config| config.keys_file = Some(path));
    let live = fixture.listen().await;
    let secret = with(&chat(&"the same long secret ".repeat(4)), &json!({"max_tokens": 2}));
    let mut hits = Vec::new();
    for key in [&alice, &alice, &bob, &bob] {
        assert!(ask(&live, key, &secret).await.starts_with("HTTP/1.1 200"));
        hits.push(number(&live, key, "vllm:prefix_cache_hits_total").await);
    }
    assert_eq!(hits[0], 0, "nobody asked before");
    assert!(hits[1] >= 64, "alice finds what alice asked: {hits:?}");
    assert_eq!(hits[2], hits[1], "bob does not");
    assert_eq!(hits[3], 2 * hits[1], "but what bob asked: {hits:?}");
}

#[tokio::test]
async fn a_form_is_not_compiled_for_a_key_that_has_nothing_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.yaml");
    let alice = new_key(&path, "alice").unwrap();
    append(&path, "  requests_per_minute: 1\n");
    let fixture = Fixture::with(|config| config.keys_file = Some(path.clone()));
    let live = fixture.listen().await;
    let wrong = with(&chat("Hi"), &json!({"structured_outputs": {"regex": "("}}));
    assert!(ask(&live, &alice, &wrong).await.starts_with("HTTP/1.1 400"), "the work is done and charged");
    assert!(ask(&live, &alice, &wrong).await.starts_with("HTTP/1.1 429"), "and not done again");
}
