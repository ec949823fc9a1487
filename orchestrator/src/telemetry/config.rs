//! What the environment says of telemetry, as a pure function of it.

use cupola_otlp::{Traces, below};
use tracing_subscriber::EnvFilter;

use super::TelemetryError;

/// What telemetry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A command, whose own output stays clean.
    Command,
    /// The daemon, whose log is its output.
    Daemon,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// What the environment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) filter: String,
    pub(super) format: Format,
    pub(super) is_colored: bool,
    pub(super) traces: Option<Traces>,
    /// What is to be said once there is a log.
    pub(super) problems: Vec<String>,
}

impl Config {
    /// What these variables say; `variable` gives none for one that is unset or empty.
    pub(super) fn of(kind: Kind, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, TelemetryError> {
        let default = match kind {
            Kind::Command => "warn",
            Kind::Daemon => "info",
        };
        let filter = variable("CUPOLA_LOG").unwrap_or_else(|| default.to_owned());
        check_filter(&filter)?;
        let format = match variable("CUPOLA_LOG_FORMAT").as_deref() {
            None | Some("text") => Format::Text,
            Some("json") => Format::Json,
            Some(other) => return Err(TelemetryError::Format(other.to_owned())),
        };
        let mut problems = Vec::new();
        let traces = traces(variable, &mut problems);
        Ok(Self { filter, format, is_colored: variable("NO_COLOR").is_none(), traces, problems })
    }
}

/// The filter's own parser is lenient where it reads the environment: here a word that is no filter is said.
fn check_filter(filter: &str) -> Result<(), TelemetryError> {
    let wrong = |problem: String| TelemetryError::Filter { value: filter.to_owned(), problem };
    EnvFilter::try_new(filter).map_err(|error| wrong(error.to_string()))?;
    // A lone word would be read as the name of a module.
    let levels = ["trace", "debug", "info", "warn", "error", "off"];
    for part in filter.split(',').map(str::trim) {
        let is_word = !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric());
        if is_word && part != "cupola" && !levels.contains(&part.to_lowercase().as_str()) {
            return Err(wrong(format!("`{part}` is no level; the levels are {}", levels.join(", "))));
        }
    }
    Ok(())
}

fn traces(variable: &dyn Fn(&str) -> Option<String>, problems: &mut Vec<String>) -> Option<Traces> {
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    let whole = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let address = || variable("OTEL_EXPORTER_OTLP_ENDPOINT");
    let endpoint = whole.or_else(|| Some(below(&address()?)))?;
    let protocol = variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL");
    if let Some(other) = protocol.or_else(|| variable("OTEL_EXPORTER_OTLP_PROTOCOL"))
        && other != "http/protobuf"
    {
        // The variable may be meant for other programs: their choice must not end this one.
        problems.push(format!("no spans are sent: OTLP goes over http/protobuf here, not over {other}"));
        return None;
    }
    let service = variable("OTEL_SERVICE_NAME").is_none().then_some("cupola");
    Some(Traces { endpoint, service })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Kind, variables: &[(&str, &str)]) -> Result<Config, TelemetryError> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Config::of(kind, &|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn commands_are_quiet_and_the_daemon_is_not() {
        assert_eq!(of(Kind::Command, &[]).unwrap().filter, "warn");
        assert_eq!(of(Kind::Daemon, &[]).unwrap().filter, "info");
        let config =
            of(Kind::Command, &[("CUPOLA_LOG", "cupola::run=debug,warn"), ("CUPOLA_LOG_FORMAT", "json")]);
        let config = config.unwrap();
        assert_eq!((config.filter.as_str(), config.format), ("cupola::run=debug,warn", Format::Json));
    }

    #[test]
    fn what_is_no_filter_and_no_format_is_said() {
        let error = of(Kind::Command, &[("CUPOLA_LOG", "verbose")]).unwrap_err();
        assert!(error.to_string().contains("`verbose` is no level"), "{error}");
        assert!(of(Kind::Command, &[("CUPOLA_LOG", "cupola=loud")]).is_err());
        let error = of(Kind::Command, &[("CUPOLA_LOG_FORMAT", "xml")]).unwrap_err();
        assert_eq!(error.to_string(), "CUPOLA_LOG_FORMAT: expected `text` or `json`, got `xml`");
    }

    #[test]
    fn spans_go_where_the_variables_of_opentelemetry_say() {
        assert_eq!(of(Kind::Command, &[]).unwrap().traces, None);
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        let traces = of(Kind::Command, &[base]).unwrap().traces.unwrap();
        assert_eq!(traces, Traces { endpoint: "http://c:4318/v1/traces".into(), service: Some("cupola") });
        let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/x");
        let traces =
            of(Kind::Command, &[base, whole, ("OTEL_SERVICE_NAME", "mine")]).unwrap().traces.unwrap();
        assert_eq!(traces, Traces { endpoint: "http://c/x".into(), service: None });
        assert_eq!(of(Kind::Command, &[base, ("OTEL_SDK_DISABLED", "true")]).unwrap().traces, None);
        let config = of(Kind::Command, &[base, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap();
        assert!(config.traces.is_none() && config.problems[0].contains("grpc"));
    }
}
