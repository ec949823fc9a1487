//! Counters and histograms in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Everything that `/metrics` shows.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    prompt_tokens: AtomicU64,
    generation_tokens: AtomicU64,
    cancelled: AtomicU64,
    running: AtomicUsize,
    waiting: AtomicUsize,
    answer_seconds: Histogram,
    first_token_seconds: Histogram,
    output_token_seconds: Histogram,
}

impl Metrics {
    /// Counts an HTTP request.
    pub(crate) fn count_request(&self, route: &str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route.to_owned(), status)).or_insert(0) += 1;
    }

    /// Counts an answer that ended, however it ended.
    pub(crate) fn count_answer(&self, answer: &AnswerTimes) {
        self.prompt_tokens.fetch_add(answer.prompt_tokens, Ordering::Relaxed);
        self.generation_tokens.fetch_add(answer.generated_tokens, Ordering::Relaxed);
        self.answer_seconds.observe(answer.whole);
        if let Some(first) = answer.first_token {
            self.first_token_seconds.observe(first);
            if answer.generated_tokens > 1 {
                let rest = answer.whole.saturating_sub(first) / (answer.generated_tokens - 1) as u32;
                self.output_token_seconds.observe(rest);
            }
        }
    }

    /// Counts an answer whose client was gone.
    pub(crate) fn count_cancelled(&self) {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the engine's load.
    pub(crate) fn set_load(&self, running: usize, waiting: usize) {
        self.running.store(running, Ordering::Relaxed);
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Answers that wait for a slot.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Mean seconds of an answer so far; none before the first.
    pub(crate) fn mean_answer_secs(&self) -> Option<f64> {
        self.answer_seconds.mean_secs()
    }

    /// The whole page.
    pub(crate) fn render(&self, model: &str) -> String {
        let mut page = String::new();
        header(&mut page, "cupola_requests_total", "counter", "HTTP requests by route and status.");
        for ((route, status), count) in &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(
                page,
                "cupola_requests_total{{route=\"{}\",status=\"{status}\"}} {count}",
                escape(route)
            );
        }
        let model = escape(model);
        let load = |value: &AtomicUsize| value.load(Ordering::Relaxed) as u64;
        let total = |value: &AtomicU64| value.load(Ordering::Relaxed);
        for (name, kind, help, value) in [
            (
                "cupola_prompt_tokens_total",
                "counter",
                "Prompt tokens of finished answers.",
                total(&self.prompt_tokens),
            ),
            (
                "cupola_generation_tokens_total",
                "counter",
                "New tokens of finished answers.",
                total(&self.generation_tokens),
            ),
            (
                "cupola_cancelled_answers_total",
                "counter",
                "Answers whose client was gone before their end.",
                total(&self.cancelled),
            ),
            ("cupola_answers_running", "gauge", "Answers in slots.", load(&self.running)),
            ("cupola_answers_waiting", "gauge", "Answers in line.", load(&self.waiting)),
        ] {
            header(&mut page, name, kind, help);
            let _ = writeln!(page, "{name}{{model=\"{model}\"}} {value}");
        }
        self.answer_seconds.render(
            &mut page,
            "cupola_answer_duration_seconds",
            "Time from an answer's admission to its end.",
        );
        self.first_token_seconds.render(
            &mut page,
            "cupola_time_to_first_token_seconds",
            "Time from an answer's admission to its first token.",
        );
        self.output_token_seconds.render(
            &mut page,
            "cupola_time_per_output_token_seconds",
            "Mean time of an answer's tokens after the first.",
        );
        page
    }
}

/// What one answer took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerTimes {
    /// Tokens of its prompt.
    pub(crate) prompt_tokens: u64,
    /// New tokens.
    pub(crate) generated_tokens: u64,
    /// From admission to the first token; none where there was none.
    pub(crate) first_token: Option<Duration>,
    /// From admission to the end.
    pub(crate) whole: Duration,
}

/// Upper bounds of the buckets, seconds.
const BOUNDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

#[derive(Debug, Default)]
struct Histogram {
    /// One for each bound, and one for all that is over the last.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    fn observe(&self, took: Duration) {
        let secs = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| secs <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    fn mean_secs(&self) -> Option<f64> {
        let count: u64 = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum();
        (count > 0).then(|| self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6 / count as f64)
    }

    fn render(&self, page: &mut String, name: &str, help: &str) {
        header(page, name, "histogram", help);
        let mut count = 0;
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS) {
            count += bucket.load(Ordering::Relaxed);
            let _ = writeln!(page, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        count += self.buckets[BOUNDS.len()].load(Ordering::Relaxed);
        let _ = writeln!(page, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(page, "{name}_sum {}", self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6);
        let _ = writeln!(page, "{name}_count {count}");
    }
}

fn header(page: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let metrics = Metrics::default();
        for millis in [2, 40, 40, 90_000] {
            metrics.count_request("/v1/models", 200);
            metrics.count_answer(&AnswerTimes {
                prompt_tokens: 3,
                generated_tokens: 5,
                first_token: Some(Duration::from_millis(1)),
                whole: Duration::from_millis(millis),
            });
        }
        let page = metrics.render("a \"name\"");
        assert!(page.contains("cupola_requests_total{route=\"/v1/models\",status=\"200\"} 4"));
        assert!(page.contains("cupola_answer_duration_seconds_bucket{le=\"0.0025\"} 1"));
        assert!(page.contains("cupola_answer_duration_seconds_bucket{le=\"0.05\"} 3"));
        assert!(page.contains("cupola_answer_duration_seconds_bucket{le=\"60\"} 3"));
        assert!(page.contains("cupola_answer_duration_seconds_bucket{le=\"+Inf\"} 4"));
        assert!(page.contains("cupola_generation_tokens_total{model=\"a \\\"name\\\"\"} 20"));
        assert!(page.contains("model=\"a \\\"name\\\"\""));
    }
}
