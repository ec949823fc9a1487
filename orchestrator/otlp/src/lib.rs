//! Spans to a collector: OTLP over HTTP with protobuf, in batches, on a thread of their own. `cupola` and `cupola-serve` both send theirs by it.
//!
//! Nobody waits for a collector: a span that ends is put into a queue, or dropped where that is full. One that takes nothing is said once in the log,
//! [`Spans::counts`] says what became of the spans, and [`Spans::close`] how many it did not get.
//!
//! Inputs: where the collector is ([`Traces`]), and a caller's headers ([`caller`]). `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_TIMEOUT`,
//! `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` and `OTEL_BSP_*` are as OpenTelemetry has them.

mod caller;
mod exporter;
mod spans;

pub use caller::caller;
pub use exporter::SpanCounts;
pub use spans::{EndpointError, Spans, Traces, below};
