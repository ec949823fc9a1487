//! Logs: a line for people with the local time, or a JSON object.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use super::TelemetryError;
use super::config::{Config, Format};

/// The time of day here.
struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", jiff::Zoned::now().strftime("%H:%M:%S%.3f"))
    }
}

/// The layer that writes logs.
pub(super) fn layer<S, W>(
    config: &Config,
    writer: W,
) -> Result<Box<dyn Layer<S> + Send + Sync>, TelemetryError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&config.filter).map_err(|error| TelemetryError::Filter {
        value: config.filter.clone(),
        problem: error.to_string(),
    })?;
    let fmt = tracing_subscriber::fmt::layer().with_writer(writer);
    Ok(match config.format {
        Format::Json => fmt.json().flatten_event(true).with_span_list(false).with_filter(filter).boxed(),
        Format::Text => {
            let is_colored = config.is_colored && std::io::stderr().is_terminal();
            fmt.compact().with_timer(LocalTime).with_ansi(is_colored).with_filter(filter).boxed()
        }
    })
}
