//! Counters and histograms in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Everything that `/metrics` shows.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    prompt_tokens: AtomicU64,
    generation_tokens: AtomicU64,
    cancelled: AtomicU64,
    running: AtomicUsize,
    waiting: AtomicUsize,
    connections: AtomicUsize,
    refused_connections: AtomicU64,
    slots: SlotTime,
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
        if answer.first_token.is_some() {
            self.slots.count_answer();
        }
        if let Some(first) = answer.first_token {
            self.first_token_seconds.observe(first);
            if answer.generated_tokens > 1 {
                let rest = answer.whole.saturating_sub(first) / (answer.generated_tokens - 1) as u32;
                self.output_token_seconds.observe(rest);
            }
        }
    }

    /// Counts the tokens of texts that became vectors.
    pub(crate) fn count_prompt_tokens(&self, tokens: u64) {
        self.prompt_tokens.fetch_add(tokens, Ordering::Relaxed);
    }

    /// Counts an answer whose client was gone.
    pub(crate) fn count_cancelled(&self) {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the engine's load.
    pub(crate) fn set_load(&self, running: usize, waiting: usize) {
        self.slots.set_running(running);
        self.running.store(running, Ordering::Relaxed);
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Counts a connection that was taken.
    pub(crate) fn count_connection_opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that ended.
    pub(crate) fn count_connection_closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a connection over a cap.
    pub(crate) fn count_connection_refused(&self) {
        self.refused_connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Mean seconds that recent answers held a slot; none before the first ended.
    pub(crate) fn mean_slot_secs(&self) -> Option<f64> {
        self.slots.mean_secs()
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
            (
                "cupola_connections_refused_total",
                "counter",
                "Connections over a cap.",
                total(&self.refused_connections),
            ),
            ("cupola_connections_open", "gauge", "Open connections.", load(&self.connections)),
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

/// How long answers hold a slot, without their time in the line: seconds of slots, by answers that ended. The recent ones weigh most.
#[derive(Debug)]
struct SlotTime(Mutex<SlotSums>);

#[derive(Debug)]
struct SlotSums {
    running: usize,
    since: Instant,
    /// Seconds of slots since the last answer ended.
    open_secs: f64,
    weighted_secs: f64,
    weighted_answers: f64,
}

/// The weight of an answer beside that of the next one.
const SLOT_DECAY: f64 = 0.95;

impl Default for SlotTime {
    fn default() -> Self {
        Self(Mutex::new(SlotSums {
            running: 0,
            since: Instant::now(),
            open_secs: 0.0,
            weighted_secs: 0.0,
            weighted_answers: 0.0,
        }))
    }
}

impl SlotTime {
    /// Called after each step: who runs now or ran before held a slot in it.
    fn set_running(&self, running: usize) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sums.running = sums.running.max(running);
        sums.pass(Instant::now());
        sums.running = running;
    }

    fn count_answer(&self) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sums.pass(Instant::now());
        sums.weighted_secs = sums.weighted_secs * SLOT_DECAY + std::mem::take(&mut sums.open_secs);
        sums.weighted_answers = sums.weighted_answers * SLOT_DECAY + 1.0;
    }

    fn mean_secs(&self) -> Option<f64> {
        let sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (sums.weighted_answers > 0.0).then(|| sums.weighted_secs / sums.weighted_answers)
    }
}

impl SlotSums {
    fn pass(&mut self, now: Instant) {
        self.open_secs += self.running as f64 * now.saturating_duration_since(self.since).as_secs_f64();
        self.since = now;
    }
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
    fn an_answers_time_in_its_slot_is_measured_without_idle_time() {
        let metrics = Metrics::default();
        let pass = |millis| std::thread::sleep(Duration::from_millis(millis));
        let answer = AnswerTimes {
            prompt_tokens: 1,
            generated_tokens: 1,
            first_token: Some(Duration::ZERO),
            whole: Duration::from_mins(15),
        };
        assert_eq!(metrics.mean_slot_secs(), None);
        pass(1000);
        metrics.set_load(0, 1);
        pass(40);
        metrics.set_load(2, 0);
        pass(20);
        metrics.set_load(0, 0);
        metrics.count_answer(&answer);
        metrics.count_answer(&answer);
        metrics.count_answer(&AnswerTimes { first_token: None, ..answer });
        // Two slots for 60 ms, one for each answer, the second weighing a little more.
        let mean = metrics.mean_slot_secs().unwrap();
        assert!((0.058..0.5).contains(&mean), "{mean}");
    }

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
