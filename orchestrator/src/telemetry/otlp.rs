//! The orchestrator's spans as those of a trace.

use cupola_otlp::{Spans, caller};
use opentelemetry::trace::TraceContextExt;
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// The layer that hands spans over. Only this crate's: the client that sends them makes some too.
pub(super) fn layer<S>(spans: &Spans) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let ours = Targets::new().with_target("cupola", Level::DEBUG);
    tracing_opentelemetry::layer().with_tracer(spans.tracer()).with_filter(ours).boxed()
}

/// Makes the trace of `TRACEPARENT`, and `TRACESTATE`, the one that a span belongs to. Call it before the span has children.
pub fn join_caller(span: &Span) {
    let value = |name: &str| std::env::var(name).unwrap_or_default();
    join(span, &value("TRACEPARENT"), &value("TRACESTATE"));
}

pub(super) fn join(span: &Span, traceparent: &str, tracestate: &str) {
    if let Some(caller) = caller(traceparent, tracestate) {
        // A span that no layer exports can't join, and needs not.
        let _ = span.set_parent(caller);
    }
}

/// A span's identity for a child process: `TRACEPARENT`. None where spans are not sent.
pub fn traceparent(span: &Span) -> Option<String> {
    let context = span.context();
    let span = context.span();
    let id = span.span_context();
    id.is_valid().then(|| format!("00-{}-{}-{:02x}", id.trace_id(), id.span_id(), id.trace_flags().to_u8()))
}

/// The trace of the current span, 32 hex digits. None where spans are not sent.
pub fn trace_id() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let id = span.span_context();
    id.is_valid().then(|| id.trace_id().to_string())
}
