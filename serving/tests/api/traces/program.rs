//! The program, with variables of OpenTelemetry.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::CHAT;
use super::collector::Collector;
use crate::fixture::{CONTEXT, Fixture, chat, read_until, wire_post};

/// The program over a fixture's model.
fn program(fixture: &Fixture, options: &[&str], variables: &[(&str, &str)]) -> Command {
    let model = format!("tiny={}", fixture.config.models[0].path.to_str().unwrap());
    let mut program = Command::new(env!("CARGO_BIN_EXE_cupola-serve"));
    program
        .args(["--model", &model, "--listen", "127.0.0.1:0", "--threads", "1", "--drain-notice-secs", "0"])
        .args(["--context", &CONTEXT.to_string()])
        .args(options)
        .envs(variables.iter().copied())
        .env_remove("CUPOLA_API_KEY")
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    program
}

/// A program that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

/// Starts it, and gives its address.
fn start_program(fixture: &Fixture, options: &[&str], variables: &[(&str, &str)]) -> (Running, String) {
    let mut running = Running(program(fixture, options, variables).spawn().unwrap());
    let server = &mut running.0;
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.strip_prefix("listening on http://").unwrap().split(' ').next().unwrap().to_owned();
    (running, address)
}

async fn ask(address: &str) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(&wire_post(CHAT, &chat("Hi"))).await.unwrap();
    let seen = read_until(&mut socket, "total_tokens").await;
    assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");
}

/// Stops the program and gives what it logged.
async fn end_program(mut running: Running) -> String {
    let killed = Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status().unwrap();
    assert!(killed.success());
    tokio::task::spawn_blocking(move || {
        let (mut log, server) = (String::new(), &mut running.0);
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
    assert_eq!(log.matches("the collector did not take 16 spans").count(), 1, "{log}");
    let traced = log.lines().filter(|line| line.contains("trace_id=\"")).count();
    assert_eq!(traced, 4, "the log's lines have the traces' ids: {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_sends_spans_with_the_headers_of_the_environment_and_nothing_without_the_option() {
    let collector = Collector::start().await;
    let fixture = Fixture::new();
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=s3cret");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let elsewhere = format!("http://{}", listener.local_addr().unwrap());
    let variables = [
        headers,
        ("OTEL_EXPORTER_OTLP_ENDPOINT", elsewhere.as_str()),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", elsewhere.as_str()),
    ];
    let option = ["--otlp-endpoint", &collector.address];
    let named = [&variables[..], &[("OTEL_SERVICE_NAME", "mine")]].concat();
    let (server, served) = start_program(&fixture, &option, &named);
    ask(&served).await;
    let log = end_program(server).await;
    assert!(!log.contains("WARN") && !log.contains("s3cret"), "{log}");
    assert_eq!(collector.spans().len(), 4);
    assert_eq!(collector.got.lock().unwrap()[0].0["x-collector-key"], "s3cret");
    assert!(format!("{:?}", collector.messages()[0].resource_spans[0].resource).contains("mine"));

    let none = [&variables[..], &[("OTEL_TRACES_SAMPLER", "always_off")]].concat();
    let (server, served) = start_program(&fixture, &option, &none);
    ask(&served).await;
    let log = end_program(server).await;
    assert!(!log.contains("WARN"), "{log}");
    assert_eq!(collector.spans().len(), 4, "a sampler that takes none is heard");

    let (server, served) = start_program(&fixture, &[], &variables);
    ask(&served).await;
    let log = end_program(server).await;
    assert!(!log.contains("trace_id"), "{log}");
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_behind_tls_is_trusted_by_the_systems_certificates_alone() {
    let (collector, certificate) = Collector::start_tls().await;
    let fixture = Fixture::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authorities.pem");
    std::fs::write(&file, certificate).unwrap();
    let option = ["--otlp-endpoint", &collector.address];
    let trusted = [("SSL_CERT_FILE", file.to_str().unwrap())];
    let (server, served) = start_program(&fixture, &option, &trusted);
    ask(&served).await;
    let log = end_program(server).await;
    assert!(!log.contains("WARN"), "{log}");
    assert_eq!(collector.spans().len(), 4);

    let (server, served) = start_program(&fixture, &option, &[]);
    ask(&served).await;
    let log = end_program(server).await;
    assert_eq!(log.matches("spans can't be sent to https://localhost").count(), 1, "{log}");
    assert_eq!(log.matches("the collector did not take 4 spans").count(), 1, "{log}");
    assert_eq!(collector.spans().len(), 4, "nothing went to a stranger");
}

#[test]
fn an_address_that_is_none_keeps_the_program_from_starting_and_says_why() {
    let fixture = Fixture::new();
    let gzip = [("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")];
    for (address, variables, words) in [
        ("127.0.0.1:4318", &[][..], &["--otlp-endpoint", "expected http:// or https://"][..]),
        ("http://me:s3cret@collector:4318", &[], &["--otlp-endpoint", "without a user"]),
        ("http://collector:4318/v1/traces", &[], &["--otlp-endpoint", "/v1/traces is added to it"]),
        (
            "http://collector:99999",
            &[],
            &["--otlp-endpoint", "http://collector:99999", "as in http://127.0.0.1:4318"],
        ),
        ("http://collector:4318", &gzip, &["--otlp-endpoint", "gzip", "uncompressed"]),
    ] {
        let mut running =
            Running(program(&fixture, &["--otlp-endpoint", address], variables).spawn().unwrap());
        let since = Instant::now();
        let ended = loop {
            if let Some(ended) = running.0.try_wait().unwrap() {
                break ended;
            }
            assert!(since.elapsed() < Duration::from_secs(20), "it started with {address}");
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut said = String::new();
        running.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(ended.code(), Some(2), "{address}: {said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in what is said of {address}: {said}");
        }
    }
}
