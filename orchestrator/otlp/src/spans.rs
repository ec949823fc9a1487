//! What makes spans and sends them.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use crate::exporter::{Counts, SpanCounts, queue};

/// Spans that wait at most, where `OTEL_BSP_MAX_QUEUE_SIZE` says nothing else: OpenTelemetry's number.
const ROOM: usize = 2048;

/// Where spans go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// The whole URL.
    pub endpoint: String,
    /// The service's name, where the environment gives none.
    pub service: Option<&'static str>,
}

/// The collector's address is none.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EndpointError(String);

/// The URL of spans at a collector's address: `/v1/traces` below it, as OpenTelemetry has it.
pub fn below(address: &str) -> String {
    format!("{}/v1/traces", address.trim_end_matches('/'))
}

/// What makes spans and sends them.
#[derive(Debug)]
pub struct Spans {
    provider: SdkTracerProvider,
    counts: Arc<Counts>,
}

impl Spans {
    /// Starts the thread that sends. Nothing is sent before the first span has ended.
    pub fn to(traces: &Traces) -> Result<Self, EndpointError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(&traces.endpoint)
            .build()
            .map_err(|error| EndpointError(error.to_string()))?;
        let counts = Arc::new(Counts::default());
        let room = std::env::var("OTEL_BSP_MAX_QUEUE_SIZE").ok().and_then(|room| room.parse().ok());
        let queue = queue(exporter, &traces.endpoint, room.unwrap_or(ROOM), &counts);
        let resource = Resource::builder();
        let resource = match traces.service {
            Some(service) => resource.with_service_name(service),
            None => resource,
        };
        let provider =
            SdkTracerProvider::builder().with_span_processor(queue).with_resource(resource.build()).build();
        Ok(Self { provider, counts })
    }

    /// Makes spans.
    pub fn tracer(&self) -> SdkTracer {
        self.provider.tracer("cupola")
    }

    /// What became of the spans so far.
    pub fn counts(&self) -> SpanCounts {
        self.counts.now()
    }

    /// Sends what is still there, within a time, and says how many of all spans the collector did not get. Blocks; spans that end later are lost.
    pub fn close(&self, limit: Duration) -> u64 {
        // What it has to say is in the counts.
        let _ = self.provider.shutdown_with_timeout(limit);
        let SpanCounts { waiting, failed, dropped, .. } = self.counts();
        waiting + failed + dropped
    }
}
