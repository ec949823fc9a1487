//! What a client is told when a request fails.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::answers::{Refusal, RefusalText};
use crate::daemon::DaemonError;
use crate::schedule::ScheduleError;
use crate::state::StateError;

/// What a client is told when a request fails: `{error: {message, hint}}`.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There is no such thing.
    #[error("there is no {what} `{name}`")]
    Missing {
        /// `run`, `step`, `schedule`, …
        what: &'static str,
        /// What was asked for.
        name: String,
    },
    /// No token, or another one.
    #[error("a bearer token is needed")]
    Unauthorized,
    /// A host name that is not this machine's loopback.
    #[error("the request's Host is not a loopback address")]
    Host,
    /// The request's content is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Another process holds the state folder.
    #[error("another process works on the state folder")]
    Busy,
    /// An order whose process was started already.
    #[error("order {0} has begun")]
    Begun(String),
    /// Secrets that the client has and the daemon lacks.
    #[error("the daemon runs without {0}, which the spec names as a secret and this terminal has")]
    Secrets(String),
    /// State could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A command could not be carried out.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// A schedule could not be found.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A page could not be rendered.
    #[error("a page could not be rendered: {0}")]
    Render(#[from] minijinja::Error),
    /// A task of the server ended early.
    #[error("the server could not finish the request")]
    Stopped,
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Missing { .. } | Self::Schedule(_) => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Invalid(_) | Self::Secrets(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy | Self::Begun(_) => StatusCode::CONFLICT,
            Self::State(_) | Self::Daemon(_) | Self::Render(_) | Self::Stopped => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::Unauthorized => {
                "Authorization: Bearer TOKEN, with the token in daemon.token of the state folder"
            }
            Self::Host => "call it as 127.0.0.1 or localhost",
            Self::Busy => "try again when its run has ended",
            Self::Begun(_) => "`cupola cancel` stops its run",
            Self::Secrets(_) => {
                "secrets stay where they are: restart the daemon with it in its environment, or work without it by --no-daemon"
            }
            Self::State(error) => error.hint(),
            Self::Daemon(error) => error.hint(),
            Self::Schedule(error) => error.hint(),
            Self::Missing { .. } | Self::Invalid(_) | Self::Render(_) | Self::Stopped => "",
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = RefusalText { message: self.to_string(), hint: self.hint().to_owned() };
        (self.status(), Json(Refusal { error })).into_response()
    }
}
