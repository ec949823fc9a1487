//! What is wrong with the variables that telemetry is set up by.

use cupola_otlp::EndpointError;

/// What is wrong with the variables that telemetry is set up by.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `CUPOLA_LOG` is no filter.
    #[error("CUPOLA_LOG: `{value}` is no filter: {problem}")]
    Filter {
        /// What it says.
        value: String,
        /// What is wrong.
        problem: String,
    },
    /// `CUPOLA_LOG_FORMAT` is no format.
    #[error("CUPOLA_LOG_FORMAT: expected `text` or `json`, got `{0}`")]
    Format(String),
    /// The collector's address is none.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT: {0}")]
    Endpoint(#[from] EndpointError),
}

impl TelemetryError {
    /// What the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Filter { .. } => "for example `debug`, or `cupola::run=debug,warn`",
            Self::Format(_) => "unset it for text",
            Self::Endpoint(_) => "for example `http://127.0.0.1:4318`",
        }
    }
}
