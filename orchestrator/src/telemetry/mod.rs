//! Telemetry: logs on standard error, spans to a collector where one is named.
//!
//! | variable | what |
//! |---|---|
//! | `CUPOLA_LOG` | which events are logged: `debug`, `cupola::run=debug,warn`; `warn` by default, `info` for the daemon |
//! | `CUPOLA_LOG_FORMAT` | `text` (local time) or `json`, one object a line (UTC) |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | a collector that takes OTLP over HTTP with protobuf; without it nothing of OTLP is even set up |
//! | `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_TIMEOUT`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SDK_DISABLED` | as OpenTelemetry has them |
//! | `TRACEPARENT` | the trace that the command joins |
//!
//! Spans: `command` ⊃ `run` ⊃ `step` ⊃ `attempt`. The last three follow from the facts that state records ([`FactSpans`]), so that what is
//! logged is what became true. Each transition is an event at `info`; what is intended, planned or noted is one at `debug`.
//!
//! A collector that can't be reached neither slows nor fails anything: spans go out in batches on a thread of their own, and the last of
//! them have [`FLUSH`] at the end.

mod config;
mod error;
mod facts;
mod log;
mod otlp;

use std::time::Duration;

use cupola_otlp::Spans;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::config::Config;

pub use config::Kind;
pub use error::TelemetryError;
pub use facts::FactSpans;
pub use otlp::{join_caller, trace_id, traceparent};

/// How long the last spans may take at the end of a command.
pub const FLUSH: Duration = Duration::from_secs(2);

/// Telemetry while a command runs; what it still holds goes out when it goes.
#[derive(Debug)]
pub struct Telemetry {
    spans: Option<Spans>,
}

/// Sets telemetry up for this process, as its environment says.
pub fn init(kind: Kind) -> Result<Telemetry, TelemetryError> {
    let mut config = Config::of(kind, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?;
    // What is wrong with a collector is said, and ends nothing.
    let exported = match config.traces.as_ref().map(Spans::to).transpose() {
        Ok(exported) => exported,
        Err(error) => {
            let error = TelemetryError::Endpoint(error);
            config.problems.push(format!("no spans are sent: {error} ({})", error.hint()));
            None
        }
    };
    let layer = exported.as_ref().map(otlp::layer);
    // Another subscriber may be there already, in tests.
    let _ = tracing_subscriber::registry().with(log::layer(&config, std::io::stderr)?).with(layer).try_init();
    for problem in &config.problems {
        tracing::warn!("{problem}");
    }
    Ok(Telemetry { spans: exported })
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        let lost = self.spans.as_ref().map_or(0, |spans| spans.close(FLUSH));
        if lost > 0 {
            tracing::warn!(
                "the collector did not take {lost} spans; the last ones had {} s",
                FLUSH.as_secs()
            );
        }
    }
}

#[cfg(test)]
mod tests;
