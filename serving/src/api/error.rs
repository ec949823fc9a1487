//! Errors as OpenAI's clients expect them: a status code and `{"error": {message, type, param, code}}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An error that goes to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    retry_after_secs: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), param: None, code: None, retry_after_secs: None }
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
    pub(crate) fn model_not_found(model: &str, served: &str) -> Self {
        Self {
            param: Some("model".to_owned()),
            code: Some("model_not_found"),
            ..Self::new(
                StatusCode::NOT_FOUND,
                "invalid_request_error",
                format!("The model '{model}' does not exist here; this server serves '{served}'."),
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

    /// 429: the line is full.
    pub(crate) fn overloaded(retry_after_secs: u64) -> Self {
        Self {
            code: Some("queue_full"),
            retry_after_secs: Some(retry_after_secs),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                format!("the server's queue is full; try again in {retry_after_secs} s"),
            )
        }
    }

    /// 503: draining or stalled.
    pub(crate) fn unavailable(message: &str) -> Self {
        Self {
            code: Some("service_unavailable"),
            retry_after_secs: Some(5),
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
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if let Some(secs) = self.retry_after_secs {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
