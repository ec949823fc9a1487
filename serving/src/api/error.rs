//! Errors as OpenAI's clients expect them: a status code and `{"error": {message, type, param, code}}`.

use std::fmt::Write as _;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::keys::Exceeded;

/// An error that goes to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    retry: Retry,
}

/// What the client is told about another try. OpenAI's libraries obey it; without a word they try 408, 409, 429 and 5xx again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// Nothing.
    Unsaid,
    /// It would fail again.
    Never,
    /// After this time.
    After(Duration),
}

/// The longest wait that a client should sit out by itself; OpenAI's libraries ignore a longer one and come again at once.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// Whoever is refused by a server that stops finds the next one by then.
const STOPPING_WAIT: Duration = Duration::from_secs(5);

impl ApiError {
    /// Its word for programs.
    pub(crate) fn code(&self) -> &'static str {
        self.code.unwrap_or(self.kind)
    }

    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), param: None, code: None, retry: Retry::Unsaid }
    }

    /// 400: the request is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// 400: one parameter is wrong.
    pub(crate) fn parameter(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), code: Some("invalid_value"), ..Self::invalid(message) }
    }

    /// 400: a parameter that this server does not carry out.
    pub(crate) fn unsupported(param: &str, why: &str) -> Self {
        Self {
            param: Some(param.to_owned()),
            code: Some("unsupported_parameter"),
            ..Self::invalid(format!("'{param}' is not supported by this server: {why}"))
        }
    }

    /// 400: a parameter that nobody knows.
    pub(crate) fn unknown_parameter(param: &str) -> Self {
        Self {
            param: Some(param.to_owned()),
            code: Some("unknown_parameter"),
            ..Self::invalid(format!("Unrecognized request argument supplied: {param}"))
        }
    }

    /// 400: prompt and answer do not fit the context.
    pub(crate) fn context_overflow(param: &str, prompt: usize, max_new: usize, context: usize) -> Self {
        let message = format!(
            "This model's maximum context length is {context} tokens. However, you requested {} tokens ({prompt} in the prompt, \
             {max_new} in the completion). Please reduce the length of the prompt or of the completion.",
            prompt + max_new
        );
        Self {
            param: Some(param.to_owned()),
            code: Some("context_length_exceeded"),
            ..Self::invalid(message)
        }
    }

    /// 401: no key or a wrong one.
    pub(crate) fn unauthorized(message: &str) -> Self {
        Self {
            code: Some("invalid_api_key"),
            ..Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message)
        }
    }

    /// 403: a host name that this server does not go by.
    pub(crate) fn forbidden_host(host: &str) -> Self {
        Self {
            code: Some("host_not_allowed"),
            ..Self::new(
                StatusCode::FORBIDDEN,
                "permission_error",
                format!(
                    "host '{host}' is not served: this server listens on loopback and answers to localhost only"
                ),
            )
        }
    }

    /// 404: a model that is not served here.
    pub(crate) fn model_not_found(model: &str, served: &[String]) -> Self {
        Self {
            param: Some("model".to_owned()),
            code: Some("model_not_found"),
            ..Self::new(
                StatusCode::NOT_FOUND,
                "invalid_request_error",
                format!(
                    "The model '{model}' does not exist here; this server serves '{}'.",
                    served.join("', '")
                ),
            )
        }
    }

    /// 404: no such route.
    pub(crate) fn unknown_route(method: &str, path: &str) -> Self {
        Self {
            code: Some("unknown_url"),
            ..Self::new(
                StatusCode::NOT_FOUND,
                "invalid_request_error",
                format!("Unknown request URL: {method} {path}"),
            )
        }
    }

    /// 405: the route exists, the method does not.
    pub(crate) fn method_not_allowed(method: &str, path: &str) -> Self {
        Self {
            code: Some("method_not_allowed"),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "invalid_request_error",
                format!("{path} does not take {method}"),
            )
        }
    }

    /// 413: the body is over the limit.
    pub(crate) fn body_too_large(limit_bytes: usize) -> Self {
        Self {
            code: Some("request_too_large"),
            ..Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "invalid_request_error",
                format!("the request's body is over {limit_bytes} bytes"),
            )
        }
    }

    /// 408: the body came too slowly.
    pub(crate) fn body_too_slow() -> Self {
        Self {
            code: Some("request_timeout"),
            ..Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "invalid_request_error",
                "the request's body came too slowly",
            )
        }
    }

    /// 429: the line is full.
    pub(crate) fn overloaded(wait: Duration) -> Self {
        Self {
            code: Some("queue_full"),
            retry: Retry::After(wait),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                // "Rate limit" is what some clients look for before they come again.
                format!(
                    "Rate limit reached: the server's queue is full. Please try again in {}.",
                    duration_text(wait)
                ),
            )
        }
    }

    /// 429: the key's limit has nothing left.
    pub(crate) fn quota(name: &str, exceeded: &Exceeded) -> Self {
        let Exceeded { unit, period, limit, wait } = exceeded;
        Self {
            code: Some("rate_limit_exceeded"),
            retry: Retry::After(*wait),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                unit,
                format!(
                    "Rate limit of {limit} {unit} per {period} reached by '{name}'. Please try again in {}.",
                    duration_text(*wait)
                ),
            )
        }
    }

    /// 429: the address has too many connections.
    pub(crate) fn too_many_connections_of_address() -> Self {
        Self {
            code: Some("too_many_connections"),
            retry: Retry::After(Duration::from_secs(1)),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                "too many connections are open from this address",
            )
        }
    }

    /// 503: the server has too many connections.
    pub(crate) fn too_many_connections() -> Self {
        Self {
            code: Some("too_many_connections"),
            retry: Retry::After(Duration::from_secs(1)),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "too many connections are open")
        }
    }

    /// 504: the answer took too long. Another try would take as long.
    pub(crate) fn time_is_up(limit: Duration) -> Self {
        Self {
            code: Some("time_limit_exceeded"),
            retry: Retry::Never,
            ..Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "server_error",
                format!("the answer took longer than {}", duration_text(limit)),
            )
        }
    }

    /// 503: draining or stalled.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self {
            code: Some("service_unavailable"),
            retry: Retry::After(STOPPING_WAIT),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
        }
    }

    /// 500: the engine failed.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self {
            code: Some("internal_error"),
            ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
        }
    }

    /// The same error about another parameter.
    pub(crate) fn about(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// The error object.
    pub(crate) fn body(&self) -> serde_json::Value {
        json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}})
    }

    /// The headers that say what to do next.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let should_retry = HeaderName::from_static("x-should-retry");
        match self.retry {
            Retry::Unsaid => {}
            Retry::Never => {
                headers.insert(should_retry, HeaderValue::from_static("false"));
            }
            Retry::After(wait) => {
                let says = if wait > LONGEST_WAIT { "false" } else { "true" };
                headers.insert(should_retry, HeaderValue::from_static(says));
                let millis = wait.as_millis() as u64;
                headers.insert(header::RETRY_AFTER, HeaderValue::from(millis.div_ceil(1000).max(1)));
                headers.insert(HeaderName::from_static("retry-after-ms"), HeaderValue::from(millis.max(1)));
            }
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        headers
    }

    /// The whole response as HTTP/1.1, for a connection that is not served.
    pub(crate) fn to_wire(&self) -> Vec<u8> {
        let body = self.body().to_string();
        let mut text = format!("HTTP/1.1 {}\r\n", self.status);
        for (name, value) in &self.headers() {
            // Writing to a string never fails.
            let _ = write!(text, "{name}: {}\r\n", value.to_str().unwrap_or_default());
        }
        let length = body.len();
        let _ = write!(
            text,
            "content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        text.into_bytes()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        response.headers_mut().extend(self.headers());
        response
    }
}

/// A duration as OpenAI's headers write it: `85ms`, `1.5s`, `6m0s`, `2h0m10s`.
pub(crate) fn duration_text(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (hours, minutes, secs) = (millis / 3_600_000, millis / 60_000 % 60, millis % 60_000);
    let secs = format!("{}s", secs as f64 / 1000.0);
    match (hours, minutes) {
        (0, 0) => secs,
        (0, minutes) => format!("{minutes}m{secs}"),
        (hours, minutes) => format!("{hours}h{minutes}m{secs}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_told_as_openais_libraries_read_them() {
        let told = |wait: Duration| {
            let headers = ApiError::overloaded(wait).headers();
            ["retry-after", "retry-after-ms", "x-should-retry"]
                .map(|name| headers[name].to_str().unwrap().to_owned())
        };
        assert_eq!(told(Duration::from_millis(1)), ["1", "1", "true"]);
        assert_eq!(told(Duration::from_millis(2300)), ["3", "2300", "true"]);
        assert_eq!(told(Duration::from_hours(1)), ["3600", "3600000", "false"], "nobody sits that out");
        let slow = ApiError::time_is_up(Duration::from_secs(1)).headers();
        assert_eq!((slow.len(), &slow["x-should-retry"]), (1, &HeaderValue::from_static("false")));
        assert!(ApiError::invalid("no").headers().is_empty());
    }

    #[test]
    fn durations_are_written_as_openai_does() {
        let cases = [(0, "0ms"), (85, "85ms"), (1500, "1.5s"), (360_000, "6m0s"), (7_210_000, "2h0m10s")];
        for (millis, text) in cases {
            assert_eq!(duration_text(Duration::from_millis(millis)), text);
        }
        assert_eq!(duration_text(Duration::from_micros(1)), "1ms", "never too early");
    }

    #[test]
    fn a_response_on_the_wire_is_whole() {
        let text = String::from_utf8(ApiError::too_many_connections().to_wire()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert!(serde_json::from_str::<serde_json::Value>(body).unwrap()["error"]["code"].is_string());
    }
}
