//! The way out: told first, then drained, then ended.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cupola_serving::Stop;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::fixture::{Fixture, chat, read_to_end, read_until, wire_get, wire_post, with};
use crate::load::long_stream;

const CHAT: &str = "/v1/chat/completions";

/// Whether the response's last chunk came, and with it the end of the events.
fn is_whole(seen: &str) -> bool {
    seen.ends_with("0\r\n\r\n") && seen.contains("data: [DONE]")
}

#[tokio::test]
async fn readiness_falls_first_and_a_stream_that_runs_ends_whole() {
    let fixture = Fixture::with(|config| config.drain.notice = Duration::from_millis(500));
    let live = fixture.listen().await;
    let mut stream = live.connect().await;
    stream.write_all(&wire_post(CHAT, &long_stream(1))).await.unwrap();
    let mut seen = read_until(&mut stream, "\"content\"").await;
    live.stop.send(Stop::WithNotice).await.unwrap();
    let started = Instant::now();
    while !live.exchange(&wire_get("/ready")).await.starts_with("HTTP/1.1 503") {
        assert!(started.elapsed() < Duration::from_millis(400), "ready does not fall");
    }
    assert!(live.exchange(&wire_get("/health")).await.starts_with("HTTP/1.1 200"), "still taken");
    seen += &read_to_end(&mut stream).await;
    assert!(is_whole(&seen), "{seen}");
    tokio::time::timeout(Duration::from_secs(10), live.ended).await.unwrap().unwrap();
    assert!(started.elapsed() >= Duration::from_millis(500));
    assert!(TcpStream::connect(live.address).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn a_kept_connection_closes_at_once_and_what_runs_at_the_limit_ends_with_an_error() {
    let fixture = Fixture::patient(|config| {
        config.max_slots = 1;
        config.drain.limit = Duration::from_millis(50);
    });
    let live = fixture.listen().await;
    let mut kept = live.connect().await;
    kept.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    read_until(&mut kept, "\"ok\"").await;
    let mut streams = Vec::new();
    for seed in 0..12 {
        let mut stream = live.connect().await;
        stream.write_all(&wire_post(CHAT, &long_stream(seed))).await.unwrap();
        let seen = read_until(&mut stream, "\"content\"").await;
        streams.push((stream, seen));
    }
    live.stop.send(Stop::AtOnce).await.unwrap();
    assert_eq!(read_to_end(&mut kept).await, "");
    let ends =
        join_all(streams.into_iter().map(async |(mut stream, seen)| seen + &read_to_end(&mut stream).await))
            .await;
    let mut num_ended = 0;
    for seen in ends {
        assert!(seen.ends_with("0\r\n\r\n"), "the response is whole as HTTP: {seen}");
        if !is_whole(&seen) {
            let last = seen.lines().rfind(|line| line.starts_with("data: ")).unwrap();
            let error: Value = serde_json::from_str(&last["data: ".len()..]).unwrap();
            assert_eq!(error["error"]["code"], "service_unavailable");
            num_ended += 1;
        }
    }
    assert!(num_ended > 0, "with one slot some still waited");
    tokio::time::timeout(Duration::from_secs(10), live.ended).await.unwrap().unwrap();
}

/// The program on a free port, with a notice of a second.
fn start_program(fixture: &Fixture) -> (Child, String) {
    let model = format!("tiny={}", fixture.config.models[0].path.to_str().unwrap());
    let context = crate::fixture::CONTEXT.to_string();
    let options =
        ["--listen", "127.0.0.1:0", "--threads", "1", "--drain-notice-secs", "1", "--context", &context];
    let mut server = Command::new(env!("CARGO_BIN_EXE_cupola-serve"))
        .args(["--model", &model])
        .args(options)
        .env_remove("CUPOLA_API_KEY")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.strip_prefix("listening on http://").unwrap().split(' ').next().unwrap().to_owned();
    (server, address)
}

fn terminate(server: &Child) {
    let killed = Command::new("kill").args(["-TERM", &server.id().to_string()]).status().unwrap();
    assert!(killed.success());
}

#[tokio::test]
async fn the_program_ends_well_on_sigterm_while_a_stream_runs() {
    let (mut server, address) = start_program(&Fixture::new());
    let connect = async || TcpStream::connect(&address).await.unwrap();
    let mut stream = connect().await;
    stream.write_all(&wire_post(CHAT, &long_stream(1))).await.unwrap();
    let mut seen = read_until(&mut stream, "\"content\"").await;
    terminate(&server);
    let mut late = connect().await;
    late.write_all(&wire_post(CHAT, &chat("Hi"))).await.unwrap();
    let late = read_until(&mut late, "chat.completion").await;
    assert!(late.starts_with("HTTP/1.1 200"), "{late}");
    seen += &read_to_end(&mut stream).await;
    assert!(is_whole(&seen), "{seen}");
    let status = tokio::task::spawn_blocking(move || server.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}

/// Clients that go elsewhere when `/ready` says no, as behind a load balancer, see every request answered whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_fails_no_request() {
    let (mut server, address) = start_program(&Fixture::new());
    let (is_ready, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..16)
        .map(|client: u64| {
            let (is_ready, asked, address) = (Arc::clone(&is_ready), Arc::clone(&asked), address.clone());
            tokio::spawn(async move {
                while is_ready.load(Ordering::Relaxed) {
                    let body = with(&long_stream(client), &json!({"stream": client.is_multiple_of(2)}));
                    let mut socket = TcpStream::connect(&address).await.unwrap();
                    let request = String::from_utf8(wire_post(CHAT, &body)).unwrap();
                    let request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
                    socket.write_all(request.as_bytes()).await.unwrap();
                    let seen = read_to_end(&mut socket).await;
                    assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");
                    assert!(is_whole(&seen) || seen.ends_with("}}"), "{seen}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    while asked.load(Ordering::Relaxed) < 32 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    terminate(&server);
    let probe = async {
        loop {
            let mut socket = TcpStream::connect(&address).await.unwrap();
            socket.write_all(&wire_get("/ready")).await.unwrap();
            if read_to_end(&mut socket).await.starts_with("HTTP/1.1 503") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), probe).await.expect("ready falls within the notice");
    is_ready.store(false, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    println!("SIGTERM under the load of 16 clients: {} requests, none failed", asked.load(Ordering::Relaxed));
    let status = tokio::task::spawn_blocking(move || server.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}
