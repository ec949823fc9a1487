//! Raw sockets: clients that are slow, idle or too many.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::fixture::{Fixture, chat, read_to_end, read_until, wire_get, wire_post};

const HEADER_TIMEOUT: Duration = Duration::from_millis(400);

/// Sends a byte each 20 ms until the server closes; how long that took.
async fn trickle(mut socket: TcpStream, bytes: &[u8]) -> (Duration, String) {
    let started = Instant::now();
    let mut seen = Vec::new();
    for byte in bytes.iter().cycle() {
        assert!(started.elapsed() < Duration::from_secs(10), "the server goes on waiting");
        if socket.write_all(&[*byte]).await.is_err() {
            break;
        }
        let mut answer = [0; 1024];
        match tokio::time::timeout(Duration::from_millis(20), socket.read(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(count)) => seen.extend(&answer[..count]),
            Err(_) => {}
        }
    }
    (started.elapsed(), String::from_utf8(seen).unwrap())
}

#[tokio::test]
async fn a_header_that_comes_byte_by_byte_is_cut_and_nobody_else_waits() {
    let fixture = Fixture::with(|config| config.connections.header_timeout = HEADER_TIMEOUT);
    let live = fixture.listen().await;
    let slow = tokio::spawn(trickle(live.connect().await, b"GET /health HTTP/1.1\r\nx-a: "));
    let idle = async {
        let started = Instant::now();
        assert_eq!(read_to_end(&mut live.connect().await).await, "");
        started.elapsed()
    };
    let request = wire_get("/health");
    let quick = live.exchange(&request);
    let (slow, idle, quick) = tokio::join!(slow, idle, quick);
    let (took, answer) = slow.unwrap();
    assert!(took >= HEADER_TIMEOUT && took < HEADER_TIMEOUT * 5, "{took:?}");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(idle >= HEADER_TIMEOUT && idle < HEADER_TIMEOUT * 5, "{idle:?}");
    assert!(quick.starts_with("HTTP/1.1 200"), "{quick}");
}

#[tokio::test]
async fn a_body_below_the_least_rate_is_a_408_and_one_above_it_is_read() {
    let fixture = Fixture::with(|config| {
        config.connections.body_grace = Duration::from_millis(300);
        config.connections.min_body_bytes_per_sec = 400;
    });
    let live = fixture.listen().await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 100000\r\n\r\n";
    let mut socket = live.connect().await;
    socket.write_all(head.as_bytes()).await.unwrap();
    let (took, answer) = trickle(socket, b" ").await;
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(3), "{took:?}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 408"), "{head}");
    assert_eq!(serde_json::from_str::<Value>(body).unwrap()["error"]["code"], "request_timeout");

    let request = wire_post("/v1/chat/completions", &chat("Hello"));
    let mut socket = live.connect().await;
    for part in request.chunks(request.len().div_ceil(12)) {
        socket.write_all(part).await.unwrap();
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    read_until(&mut socket, "chat.completion").await;
}

/// Connects from an address of this machine.
async fn connect_from(address: &str, server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(address.parse::<IpAddr>().unwrap(), 0)).unwrap();
    socket.connect(server).await.unwrap()
}

#[tokio::test]
async fn connections_over_the_caps_are_told_so_and_closed() {
    let fixture = Fixture::with(|config| {
        config.connections.max = 3;
        config.connections.max_per_address = 2;
    });
    let live = fixture.listen().await;
    let mut held = Vec::new();
    for address in ["127.0.0.1", "127.0.0.1", "127.0.0.2"] {
        if address == "127.0.0.2" {
            let refused = live.exchange(&wire_get("/health")).await;
            assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
        }
        let mut socket = connect_from(address, live.address).await;
        socket.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        read_until(&mut socket, "\"ok\"").await;
        held.push(socket);
    }
    let mut refused = connect_from("127.0.0.2", live.address).await;
    refused.write_all(&wire_get("/health")).await.unwrap();
    let refused = read_to_end(&mut refused).await;
    let (head, body) = refused.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503") && head.contains("retry-after: 1"), "{head}");
    assert_eq!(serde_json::from_str::<Value>(body).unwrap()["error"]["code"], "too_many_connections");
    drop(held.remove(0));
    let started = Instant::now();
    loop {
        // The server sees the hang-up a moment later.
        let page = live.exchange(&wire_get("/metrics")).await;
        if page.starts_with("HTTP/1.1 200") {
            let refused =
                page.lines().find(|line| line.starts_with("cupola_connections_refused_total")).unwrap();
            assert!(refused.rsplit(' ').next().unwrap().parse::<u64>().unwrap() >= 2, "{refused}");
            assert!(page.contains("cupola_connections_open 3"), "{page}");
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{page}");
    }
}
