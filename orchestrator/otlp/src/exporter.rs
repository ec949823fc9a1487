//! The two ends of the queue, which count what goes in and what comes out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanProcessor};

/// Spans that ended, and those that the collector took.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) ended: AtomicU64,
    pub(crate) taken: AtomicU64,
}

/// The way into the queue. The queue itself drops what it has no room for without a word.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) queue: BatchSpanProcessor,
    pub(crate) counts: Arc<Counts>,
}

impl SpanProcessor for Counted {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.queue.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.counts.ended.fetch_add(1, Ordering::Relaxed);
        self.queue.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.queue.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.queue.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.queue.set_resource(resource);
    }
}

/// An exporter that says once that its collector takes nothing. The batches behind it would be lost without a word.
#[derive(Debug)]
pub(crate) struct Outspoken {
    pub(crate) exporter: SpanExporter,
    pub(crate) endpoint: String,
    pub(crate) has_said: AtomicBool,
    pub(crate) counts: Arc<Counts>,
}

impl opentelemetry_sdk::trace::SpanExporter for Outspoken {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let num_spans = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        match &result {
            Err(error) if !self.has_said.swap(true, Ordering::SeqCst) => {
                tracing::warn!("spans can't be sent to {}: {error}; nothing waits for them", self.endpoint);
            }
            Err(_) => {}
            Ok(()) => {
                self.counts.taken.fetch_add(num_spans, Ordering::Relaxed);
                self.has_said.store(false, Ordering::SeqCst);
            }
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
