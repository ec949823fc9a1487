//! What happens around every request: its id and log line, the host check, and the key.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body::Body as _;

use crate::api::{ApiError, random_u64};
use crate::app::House;
use crate::keys::Asker;
use crate::page;
use crate::request_line::RequestLine;
use crate::request_trace::RequestTrace;

/// Routes that answer without a key: life signs for a supervisor.
const OPEN_ROUTES: [&str; 2] = ["/health", "/ready"];
/// The header of request ids, both ways.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from a client.
const MAX_REQUEST_ID: usize = 128;

/// Gives the request an id, its client's where it sent one, counts it, and has it logged when it is over.
pub(crate) async fn observe(State(house): State<House>, request: Request, next: Next) -> Response {
    let request_id = given_id(request.headers())
        .unwrap_or_else(|| format!("req_{:016x}{:016x}", random_u64(), random_u64()));
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let trace = RequestTrace::of(&house, &route, request.headers());
    let line = RequestLine::new(request_id.clone(), request.method().to_string(), route.clone(), trace);
    let mut response = line.within(next.run(request)).await;
    let status = response.status().as_u16();
    house.metrics.count_request(&route, status);
    line.set_head(status, response.extensions().get::<Arc<Asker>>());
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// The client's id, where it has nothing in it that could forge a line of a log.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/+=-".contains(&byte);
    ((1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(is_plain)).then(|| id.to_owned())
}

/// On loopback without a key, only requests for a local host name pass: a page on the web that points its own name at this machine
/// (DNS rebinding) gets nothing.
pub(crate) async fn check_host(State(house): State<House>, request: Request, next: Next) -> Response {
    if house.is_loopback && house.keys.now().is_open() {
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

/// Asks for a key where there are any, and says to what follows who asks.
pub(crate) async fn check_key(State(house): State<House>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let keys = house.keys.now();
    let given = given_key(request.headers());
    let found = given.as_deref().and_then(|key| keys.find(key));
    let asker = match found {
        Some(asker) => asker,
        None if keys.is_open() || OPEN_ROUTES.contains(&path) => keys.anyone(),
        None => return unauthorized(given.is_some(), page::is_document(path)),
    };
    request.extensions_mut().insert(Arc::clone(&asker));
    let mut response = next.run(request).await;
    response.extensions_mut().insert(asker);
    response
}

/// Refuses a body whose length is said to be over the limit before any of it is read.
pub(crate) async fn check_length(State(house): State<House>, request: Request, next: Next) -> Response {
    let limit = house.limits.body_bytes;
    if request.body().size_hint().lower() <= limit as u64 {
        return next.run(request).await;
    }
    let mut response = ApiError::body_too_large(limit).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn unauthorized(is_given: bool, is_document: bool) -> Response {
    let message = if is_given {
        "Incorrect API key provided."
    } else {
        "You didn't provide an API key: send it as 'Authorization: Bearer KEY'."
    };
    let mut response = ApiError::unauthorized(message).into_response();
    if is_document {
        // A browser asks its user for the key by itself, and sends it with the page's requests too.
        let challenge =
            HeaderValue::from_static("Basic realm=\"the API key as password\", charset=\"UTF-8\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// The key of `Authorization: Bearer KEY`, or the password of `Basic`, which browsers send.
fn given_key(headers: &HeaderMap) -> Option<String> {
    let (scheme, value) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("Bearer") {
        return Some(value.trim().to_owned());
    }
    if scheme.eq_ignore_ascii_case("Basic") {
        let pair = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
        return pair.split_once(':').map(|(_, password)| password.to_owned());
    }
    None
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
    fn keys_come_as_bearer_or_as_a_password() {
        let given = |value: &str| {
            given_key(&HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())]))
        };
        assert_eq!(given("Bearer sk-a").as_deref(), Some("sk-a"));
        assert_eq!(given("bearer  sk-a ").as_deref(), Some("sk-a"));
        assert_eq!(given("Basic dXNlcjpzay1hOmI=").as_deref(), Some("sk-a:b"));
        for other in ["sk-a", "Digest sk-a", "Basic sk-a", "Basic dXNlcg=="] {
            assert_eq!(given(other), None, "{other}");
        }
    }

    #[test]
    fn only_plain_request_ids_are_taken_over() {
        let given =
            |id: &[u8]| given_id(&HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(id).unwrap())]));
        assert_eq!(given(b"trace-1:a/b").as_deref(), Some("trace-1:a/b"));
        for other in ["", "a b", "a\"b", "\u{fc}", &"x".repeat(129)] {
            assert_eq!(given(other.as_bytes()), None, "{other}");
        }
    }
}
