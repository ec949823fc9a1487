//! TLS with certificates of the tests' own.

use std::path::Path;
use std::time::{Duration, Instant};

use cupola_serving::TlsFiles;
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use tokio::io::AsyncReadExt;

use crate::fixture::{Fixture, Live, chat};

/// Writes a certificate for `localhost` with its key, and gives it as PEM.
fn write_pair(files: &TlsFiles, year: i32) -> String {
    let mut parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
    parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap().pem();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    std::fs::write(&files.certificate, &certificate).unwrap();
    certificate
}

fn files_in(folder: &Path) -> TlsFiles {
    TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") }
}

fn fixture_of(files: &TlsFiles) -> Fixture {
    let files = files.clone();
    Fixture::with(|config| {
        config.tls = Some(files);
        config.connections.header_timeout = Duration::from_millis(600);
    })
}

/// A client that trusts this certificate alone.
fn client(certificate: &str, live: &Live) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
    reqwest::Client::builder()
        .tls_built_in_root_certs(false)
        .add_root_certificate(root)
        .resolve("localhost", live.address)
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

fn url(live: &Live, path: &str) -> String {
    format!("https://localhost:{}{path}", live.address.port())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_go_over_tls_and_a_changed_certificate_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    let files = files_in(folder.path());
    let first = write_pair(&files, 2100);
    let fixture = fixture_of(&files);
    let live = fixture.listen().await;
    let reply = client(&first, &live)
        .post(url(&live, "/v1/chat/completions"))
        .json(&chat("Hello"))
        .send()
        .await
        .unwrap();
    assert_eq!((reply.status().as_u16(), reply.version()), (200, reqwest::Version::HTTP_11));
    let direct = fixture.post("/v1/chat/completions", &chat("Hello")).await.json();
    let answer: Value = serde_json::from_str(&reply.text().await.unwrap()).unwrap();
    assert_eq!(answer["choices"], direct["choices"]);
    let mut stream = chat("Hello");
    stream["stream"] = true.into();
    let reply =
        client(&first, &live).post(url(&live, "/v1/chat/completions")).json(&stream).send().await.unwrap();
    assert!(reply.text().await.unwrap().ends_with("data: [DONE]\n\n"));

    // A key that does not fit changes nothing, and is told.
    let [done, failed] =
        ["done", "failed"].map(|result| format!("cupola_certificate_reloads_total{{result=\"{result}\"}}"));
    let key = std::fs::read(&files.key).unwrap();
    std::fs::write(&files.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    fixture.wait_for(&failed, 1).await;
    assert!(client(&first, &live).get(url(&live, "/health")).send().await.unwrap().status().is_success());
    std::fs::write(&files.key, key).unwrap();
    fixture.wait_for(&done, 1).await;
    let second = write_pair(&files, 2100);
    let started = Instant::now();
    while client(&second, &live).get(url(&live, "/health")).send().await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "the new certificate is not there");
    }
    assert!(client(&first, &live).get(url(&live, "/health")).send().await.is_err());
    // At SIGHUP too, changed or not.
    let before = fixture.number(&done).await;
    live.reload.send(()).await.unwrap();
    fixture.wait_for(&done, before + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_handshake_is_cut_and_counts_as_a_connection() {
    let folder = tempfile::tempdir().unwrap();
    let files = files_in(folder.path());
    let certificate = write_pair(&files, 2100);
    let fixture = Fixture::with(|config| {
        config.tls = Some(files);
        config.connections.header_timeout = Duration::from_secs(2);
        config.connections.max_per_address = 1;
    });
    let live = fixture.listen().await;
    let started = Instant::now();
    let mut silent = live.connect().await;
    while !fixture.get("/metrics").await.text.contains("cupola_connections_open 1") {
        tokio::task::yield_now().await;
    }
    // One is all that an address may have: the next one is told so, over TLS.
    let refused = client(&certificate, &live).get(url(&live, "/health")).send().await.unwrap();
    assert_eq!(refused.status(), 429);
    let mut bytes = [0; 64];
    let read = tokio::time::timeout(Duration::from_secs(20), silent.read(&mut bytes)).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)));
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    let started = Instant::now();
    while client(&certificate, &live).get(url(&live, "/health")).send().await.unwrap().status() != 200 {
        assert!(started.elapsed() < Duration::from_secs(20), "its place does not come back");
    }
    // Who does not speak TLS is cut, and nobody else.
    live.exchange(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
}

#[tokio::test]
async fn what_is_wrong_with_the_files_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = files_in(folder.path());
    let named = |files: &TlsFiles| {
        let mut config = cupola_serving::ServeConfig::new(folder.path().to_path_buf());
        config.tls = Some(files.clone());
        cupola_serving::House::load(&config).map(|_| ()).unwrap_err().to_string()
    };
    assert!(named(&files).contains("cert.pem: No such file"), "{}", named(&files));
    write_pair(&files, 2100);
    let (certificate, key) = (std::fs::read(&files.certificate).unwrap(), std::fs::read(&files.key).unwrap());
    for (cert, key, told) in [
        (&b"no PEM"[..], &key[..], "cert.pem: no certificate in it"),
        (&key, &key, "cert.pem: no certificate in it"),
        (&certificate, b"", "key.pem: no private key in it"),
        (
            &certificate,
            KeyPair::generate().unwrap().serialize_pem().as_bytes(),
            "key.pem: it is not the key of",
        ),
    ] {
        std::fs::write(&files.certificate, cert).unwrap();
        std::fs::write(&files.key, key).unwrap();
        assert!(named(&files).contains(told), "{}, not {told}", named(&files));
    }
    // One that has expired is a warning: the folder, which is no model, is what fails then.
    write_pair(&files, 2001);
    assert!(named(&files).contains("not a model folder"), "{}", named(&files));
}
