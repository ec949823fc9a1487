//! Who may ask: loopback hosts, and holders of the token.

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::{ApiError, ApiState};

const COOKIE: &str = "cupola_token";
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; base-uri 'none'";

/// The query of `/login`.
#[derive(Debug, Deserialize)]
pub(super) struct Login {
    token: String,
}

/// Sets the cookie for the dashboard.
pub(super) async fn login(
    State(state): State<ApiState>,
    Query(login): Query<Login>,
) -> Result<Response, ApiError> {
    if !same(&login.token, state.token()) {
        return Err(ApiError::Unauthorized);
    }
    let cookie = format!("{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/", state.token());
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

/// Refuses hosts that are not loopback, and adds the headers of every answer.
pub(super) async fn check_host(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().host());
    if !host.is_some_and(is_loopback) {
        return ApiError::Host.into_response();
    }
    let mut response = next.run(request).await;
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    response
}

/// Refuses requests without the token.
pub(super) async fn check_token(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let cookie = (request.method() == Method::GET).then(|| cookie_token(headers)).flatten();
    let shown = bearer_token(headers).or(cookie);
    if shown.is_some_and(|shown| same(shown, state.token())) {
        next.run(request).await
    } else {
        ApiError::Unauthorized.into_response()
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn cookie_token(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    cookies.split(';').find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Equality by hash, so that the time it takes says nothing about the token.
fn same(shown: &str, token: &str) -> bool {
    blake3::hash(shown.as_bytes()) == blake3::hash(token.as_bytes())
}

/// Whether a `Host` names this machine's loopback, with or without a port.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_hosts() {
        for good in ["localhost", "localhost:7070", "127.0.0.1:7070", "[::1]:7070", "127.0.0.1"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:7070", "[::2]:7070", ""] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }
}
