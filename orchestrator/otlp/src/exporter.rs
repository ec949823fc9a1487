//! The two ends of the queue, which count what goes in and what becomes of it.
//!
//! The room in the queue is kept here: OpenTelemetry's own drops what it has no room for without a word.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};

/// What became of the spans that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpanCounts {
    /// In the queue, or on their way.
    pub waiting: u64,
    /// The collector took them.
    pub sent: u64,
    /// The collector did not take them, or could not be reached.
    pub failed: u64,
    /// The queue had no room for them.
    pub dropped: u64,
}

/// [`SpanCounts`] while they change.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    waiting: AtomicU64,
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    pub(crate) fn now(&self) -> SpanCounts {
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
        SpanCounts {
            waiting: number(&self.waiting),
            sent: number(&self.sent),
            failed: number(&self.failed),
            dropped: number(&self.dropped),
        }
    }
}

/// A queue of so many spans before an exporter, with a thread that takes them there.
pub(crate) fn queue<E: SpanExporter + 'static>(
    exporter: E,
    endpoint: &str,
    room: usize,
    counts: &Arc<Counts>,
) -> impl SpanProcessor + use<E> {
    let has_said = AtomicBool::new(false);
    let exporter =
        Outspoken { exporter, endpoint: endpoint.to_owned(), has_said, counts: Arc::clone(counts) };
    // The rest is from the environment.
    let config = BatchConfigBuilder::default().with_max_queue_size(room).build();
    let queue = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    Counted { queue, room: room as u64, counts: Arc::clone(counts) }
}

/// The way into the queue.
#[derive(Debug)]
struct Counted {
    queue: BatchSpanProcessor,
    room: u64,
    counts: Arc<Counts>,
}

impl SpanProcessor for Counted {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.queue.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.counts.waiting.fetch_add(1, Ordering::Relaxed) < self.room {
            self.queue.on_end(span);
        } else {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
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

/// The way out: an exporter that says once that its collector takes nothing. The batches behind it would be lost without a word.
#[derive(Debug)]
struct Outspoken<E> {
    exporter: E,
    endpoint: String,
    has_said: AtomicBool,
    counts: Arc<Counts>,
}

impl<E: SpanExporter> SpanExporter for Outspoken<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let num_spans = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        let became = match &result {
            Ok(()) => {
                self.has_said.store(false, Ordering::SeqCst);
                &self.counts.sent
            }
            Err(error) => {
                if !self.has_said.swap(true, Ordering::SeqCst) {
                    tracing::warn!(
                        "spans can't be sent to {}: {error}; nothing waits for them",
                        self.endpoint
                    );
                }
                &self.counts.failed
            }
        };
        became.fetch_add(num_spans, Ordering::Relaxed);
        self.counts.waiting.fetch_sub(num_spans, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};

    use opentelemetry::trace::{Tracer, TracerProvider};
    use opentelemetry_sdk::error::OTelSdkError;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    /// A collector that takes a batch, or does not, when it is told so; once nobody tells, none.
    #[derive(Debug)]
    struct Told(Mutex<Receiver<bool>>);

    impl SpanExporter for Told {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            let takes = self.0.lock().unwrap().recv().unwrap_or(false);
            if takes { Ok(()) } else { Err(OTelSdkError::InternalFailure("no".into())) }
        }
    }

    fn until(counts: &Counts, expected: SpanCounts) {
        let since = std::time::Instant::now();
        while counts.now() != expected {
            assert!(since.elapsed() < Duration::from_secs(10), "{:?} in place of {expected:?}", counts.now());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_queue_is_bounded_and_each_span_is_counted_once() {
        let (tell, told) = channel();
        let counts = Arc::new(Counts::default());
        let queue = queue(Told(Mutex::new(told)), "http://nowhere", 4, &counts);
        let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
        let end = |num: usize| (0..num).for_each(|_| drop(provider.tracer("test").start("one")));
        end(3);
        until(&counts, SpanCounts { waiting: 3, ..SpanCounts::default() });
        end(7);
        let full = SpanCounts { waiting: 4, sent: 0, failed: 0, dropped: 6 };
        assert_eq!(counts.now(), full, "those on their way hold their places too");
        // How many batches the four are is the thread's matter.
        for _ in 0..4 {
            tell.send(true).unwrap();
        }
        provider.force_flush().unwrap();
        until(&counts, SpanCounts { waiting: 0, sent: 4, failed: 0, dropped: 6 });
        drop(tell);
    }

    #[test]
    fn what_a_collector_refuses_makes_room() {
        let (tell, told) = channel();
        let counts = Arc::new(Counts::default());
        let queue = queue(Told(Mutex::new(told)), "http://nowhere", 2, &counts);
        let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
        drop(tell);
        for _ in 0..3 {
            provider.tracer("test").start("one");
            let _ = provider.force_flush();
        }
        until(&counts, SpanCounts { waiting: 0, sent: 0, failed: 3, dropped: 0 });
    }
}
