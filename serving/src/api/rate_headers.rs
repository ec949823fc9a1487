//! `x-ratelimit-*` as OpenAI's API has them. A key with a limit of requests is told where that stands; without one the line is the limit,
//! and its places are told. Tokens are told where the key has a limit of them.

use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::duration_text;
use crate::app::App;
use crate::keys::{Asker, Standing};

const REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// Writes where the limits stand now.
pub(super) fn write_rate_headers(app: &App, asker: &Asker, headers: &mut HeaderMap) {
    let now = Instant::now();
    let requests = asker.quota.requests(now).unwrap_or_else(|| places(app));
    write(headers, REQUESTS, requests);
    if let Some(tokens) = asker.quota.tokens(now) {
        write(headers, TOKENS, tokens);
    }
}

fn places(app: &App) -> Standing {
    let (limit, remaining) = (app.engine.num_places(), app.engine.free_places());
    let reset = if remaining == limit { Duration::ZERO } else { app.time_of_line() };
    Standing { limit: limit as u64, remaining: remaining as u64, reset }
}

fn write(headers: &mut HeaderMap, names: [HeaderName; 3], standing: Standing) {
    let [limit, remaining, reset] = names;
    headers.insert(limit, HeaderValue::from(standing.limit));
    headers.insert(remaining, HeaderValue::from(standing.remaining));
    if let Ok(text) = HeaderValue::try_from(duration_text(standing.reset)) {
        headers.insert(reset, text);
    }
}
