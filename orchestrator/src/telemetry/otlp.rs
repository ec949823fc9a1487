//! Spans to a collector: OTLP over HTTP, in batches, on a thread of their own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use super::TelemetryError;
use super::config::Traces;

/// An exporter that says once that its collector takes nothing. The batches behind it would be lost without a word.
#[derive(Debug)]
struct Outspoken {
    exporter: SpanExporter,
    endpoint: String,
    has_said: AtomicBool,
}

impl opentelemetry_sdk::trace::SpanExporter for Outspoken {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        match &result {
            Err(error) if !self.has_said.swap(true, Ordering::SeqCst) => {
                tracing::warn!("spans can't be sent to {}: {error}; nothing waits for them", self.endpoint);
            }
            Err(_) => {}
            Ok(()) => self.has_said.store(false, Ordering::SeqCst),
        }
        result
    }

    fn shutdown_with_timeout(&mut self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&mut self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// What makes spans and sends them.
pub(super) fn provider(traces: &Traces) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(&traces.endpoint)
        .build()
        .map_err(|error| TelemetryError::Endpoint(error.to_string()))?;
    let exporter =
        Outspoken { exporter, endpoint: traces.endpoint.clone(), has_said: AtomicBool::new(false) };
    let resource = Resource::builder();
    let resource = match traces.service {
        Some(service) => resource.with_service_name(service),
        None => resource,
    };
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build())
}

/// The layer that hands spans over. Only this crate's: the client that sends them makes some too.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let tracer = provider.tracer("cupola");
    let ours = Targets::new().with_target("cupola", Level::DEBUG);
    tracing_opentelemetry::layer().with_tracer(tracer).with_filter(ours).boxed()
}

/// Makes the trace of `TRACEPARENT`, and `TRACESTATE`, the one that a span belongs to. Call it before the span has children.
pub fn join_caller(span: &Span) {
    let pairs = ["traceparent", "tracestate"].map(|name| {
        let value = std::env::var(name.to_uppercase()).unwrap_or_default();
        (name.to_owned(), value)
    });
    let carrier: HashMap<String, String> = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    join(span, &carrier);
}

pub(super) fn join(span: &Span, carrier: &HashMap<String, String>) {
    let caller = TraceContextPropagator::new().extract(carrier);
    if caller.span().span_context().is_valid() {
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
