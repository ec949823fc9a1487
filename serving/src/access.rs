//! What happens around every request: its id and log line, the host check, and the key.
//!
//! Logs name route, status, time and request id; never a prompt, an answer or a key.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::{ApiError, random_u64};
use crate::app::App;

/// Routes that answer without a key: life signs for a supervisor, and the empty shell of the chat page, which asks for the key itself.
const OPEN_ROUTES: [&str; 3] = ["/health", "/ready", "/"];

/// Gives the request an id, counts it and logs it.
pub(crate) async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = format!("req_{:016x}{:016x}", random_u64(), random_u64());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let mut response = next.run(request).await;
    let status = response.status().as_u16();
    app.metrics.count_request(&route, status);
    let millis = started.elapsed().as_millis() as u64;
    tracing::info!(%request_id, %method, route, status, millis, "request");
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// On loopback without a key, only requests for a local host name pass: a page on the web that points its own name at this machine
/// (DNS rebinding) gets nothing.
pub(crate) async fn check_host(State(app): State<App>, request: Request, next: Next) -> Response {
    if app.is_loopback && app.api_key.is_none() {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        if let Some(host) = host.filter(|host| !is_local(host)) {
            return ApiError::forbidden_host(host).into_response();
        }
    }
    next.run(request).await
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Asks for the key where there is one.
pub(crate) async fn check_key(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(expected) = &app.api_key else { return next.run(request).await };
    if OPEN_ROUTES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given.and_then(|value| value.strip_prefix("Bearer ")) {
        None => {
            ApiError::unauthorized("You didn't provide an API key: send it as 'Authorization: Bearer KEY'.")
                .into_response()
        }
        Some(given) if is_same(given.trim().as_bytes(), expected.as_bytes()) => next.run(request).await,
        Some(_) => ApiError::unauthorized("Incorrect API key provided.").into_response(),
    }
}

/// Compares in a time that does not depend on where the first difference is.
fn is_same(given: &[u8], expected: &[u8]) -> bool {
    let differences = expected.iter().enumerate().fold(given.len() ^ expected.len(), |sum, (at, byte)| {
        sum | usize::from(byte ^ given.get(at).copied().unwrap_or(0))
    });
    differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_hosts_are_told_from_others() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.0.0.2", "[::1]:8080", "[::1]"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:80", "192.168.0.1:80", "[2001:db8::1]:80", ""] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn keys_must_be_equal_to_the_byte() {
        assert!(is_same(b"secret", b"secret"));
        for wrong in ["", "secre", "secret2", "Secret"] {
            assert!(!is_same(wrong.as_bytes(), b"secret"));
        }
    }
}
