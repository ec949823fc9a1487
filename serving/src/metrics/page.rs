//! The page as text.

use std::fmt::{Arguments, Write as _};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use super::Metrics;
use super::histogram::Histogram;
use super::model::{FINISHES, ModelMetrics};

/// Lines.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    pub(super) fn line(&mut self, line: Arguments<'_>) {
        let _ = writeln!(self.0, "{line}");
    }

    fn header(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }
}

/// A number of a model: name, kind, help and where it is.
type Number = (&'static str, &'static str, &'static str, fn(&ModelMetrics) -> f64);

fn total(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

fn level(gauge: &AtomicUsize) -> f64 {
    gauge.load(Ordering::Relaxed) as f64
}

const NUMBERS: [Number; 12] = [
    ("vllm:num_requests_running", "gauge", "Answers in slots.", |m| level(&m.running)),
    ("vllm:num_requests_waiting", "gauge", "Answers in line.", |m| level(&m.waiting)),
    ("vllm:kv_cache_usage_perc", "gauge", "Share of the cache's blocks that answers hold; 1 is all.", |m| {
        level(&m.blocks_used) / level(&m.blocks).max(1.0)
    }),
    ("cupola_kv_cache_blocks", "gauge", "Blocks of the cache.", |m| level(&m.blocks)),
    ("vllm:prefix_cache_queries_total", "counter", "Prompt tokens that were looked for in the cache.", |m| {
        total(&m.cache_queries)
    }),
    ("vllm:prefix_cache_hits_total", "counter", "Prompt tokens that were found in the cache.", |m| {
        total(&m.cache_hits)
    }),
    ("vllm:num_preemptions_total", "counter", "Answers that lost their blocks and ran again.", |m| {
        total(&m.preemptions)
    }),
    ("vllm:spec_decode_num_draft_tokens_total", "counter", "Tokens that were guessed.", |m| {
        total(&m.drafted)
    }),
    ("vllm:spec_decode_num_accepted_tokens_total", "counter", "Guesses that were right.", |m| {
        total(&m.accepted)
    }),
    ("vllm:prompt_tokens_total", "counter", "Prompt tokens of answers that ended.", |m| {
        total(&m.prompt_tokens)
    }),
    ("vllm:generation_tokens_total", "counter", "New tokens of answers that ended.", |m| {
        total(&m.generation_tokens)
    }),
    ("cupola_cancelled_answers_total", "counter", "Answers whose client was gone before their end.", |m| {
        total(&m.cancelled)
    }),
];

/// A histogram of a model.
type Times = (&'static str, &'static str, fn(&ModelMetrics) -> &Histogram);

const TIMES: [Times; 3] = [
    ("vllm:time_to_first_token_seconds", "From an answer's admission to its first token.", |m| {
        &m.first_token
    }),
    ("vllm:inter_token_latency_seconds", "From a token of an answer to the next.", |m| &m.between_tokens),
    ("vllm:e2e_request_latency_seconds", "From an answer's admission to its end.", |m| &m.whole),
];

impl Metrics {
    /// The whole page.
    pub(crate) fn render(&self) -> String {
        let mut page = Page::default();
        let models: Vec<(String, Arc<ModelMetrics>)> = {
            let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
            models
                .iter()
                .map(|(name, model)| (format!("model_name=\"{}\"", escape(name)), Arc::clone(model)))
                .collect()
        };
        for (name, kind, help, of) in NUMBERS {
            page.header(name, kind, help);
            for (labels, model) in &models {
                page.line(format_args!("{name}{{{labels}}} {}", of(model)));
            }
        }
        let name = "vllm:request_success_total";
        page.header(name, "counter", "Answers that ended, by reason.");
        for (labels, model) in &models {
            for (finish, count) in FINISHES.iter().zip(&model.finished) {
                page.line(format_args!("{name}{{{labels},finished_reason=\"{finish}\"}} {}", total(count)));
            }
        }
        for (name, help, of) in TIMES {
            page.header(name, "histogram", help);
            for (labels, model) in &models {
                of(model).render(&mut page, name, labels);
            }
        }
        self.render_server(&mut page);
        page.0
    }

    /// What is the server's, not one model's.
    fn render_server(&self, page: &mut Page) {
        for (name, kind, help, value) in [
            ("cupola_connections_open", "gauge", "Open connections.", level(&self.connections)),
            (
                "cupola_connections_refused_total",
                "counter",
                "Connections over a cap.",
                total(&self.refused_connections),
            ),
            (
                "cupola_engines",
                "gauge",
                "Engines whose weights and cache are in memory.",
                level(&self.engines),
            ),
        ] {
            page.header(name, kind, help);
            page.line(format_args!("{name} {value}"));
        }
        for (name, help, changes) in [
            ("cupola_model_swaps_total", "Models that took a name over, or could not.", &self.swaps),
            (
                "cupola_key_reloads_total",
                "Times that the keys file was read again, or could not be.",
                &self.key_reloads,
            ),
            (
                "cupola_certificate_reloads_total",
                "Times that the certificate was read again, or could not be.",
                &self.certificate_reloads,
            ),
            (
                "cupola_moderation_reloads_total",
                "Times that the rules of moderation were read again, or could not be.",
                &self.rule_reloads,
            ),
        ] {
            page.header(name, "counter", help);
            for (result, count) in changes.totals() {
                page.line(format_args!("{name}{{result=\"{result}\"}} {count}"));
            }
        }
        self.render_moderation(page);
        let name = "cupola_requests_total";
        page.header(name, "counter", "HTTP requests by route and status.");
        for ((route, status), count) in &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            let route = escape(route);
            page.line(format_args!("{name}{{route=\"{route}\",status=\"{status}\"}} {count}"));
        }
    }

    fn render_moderation(&self, page: &mut Page) {
        let name = "cupola_moderation_total";
        page.header(name, "counter", "Findings of moderation.");
        for ((category, scope, action), count) in
            &*self.moderation.lock().unwrap_or_else(PoisonError::into_inner)
        {
            let category = escape(category);
            page.line(format_args!(
                "{name}{{category=\"{category}\",scope=\"{scope}\",action=\"{action}\"}} {count}"
            ));
        }
        let name = "cupola_moderation_unjudged_total";
        page.header(name, "counter", "Texts that classifiers with `action: log` were too slow for.");
        for (scope, count) in &*self.unjudged.lock().unwrap_or_else(PoisonError::into_inner) {
            page.line(format_args!("{name}{{scope=\"{scope}\"}} {count}"));
        }
    }
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{AnswerFacts, Finish};
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_labels_are_escaped() {
        let metrics = Metrics::default();
        let model = metrics.of_model("a \"name\"");
        for millis in [2, 40, 40, 90_000] {
            metrics.count_request("/v1/models", 200);
            model.count_answer(&AnswerFacts {
                prompt_tokens: 3,
                generated_tokens: 5,
                first_token: Some(Duration::from_millis(1)),
                whole: Duration::from_millis(millis),
                finish: Finish::Length,
            });
        }
        let page = metrics.render();
        let model = "model_name=\"a \\\"name\\\"\"";
        for line in [
            "cupola_requests_total{route=\"/v1/models\",status=\"200\"} 4".to_owned(),
            format!("vllm:e2e_request_latency_seconds_bucket{{{model},le=\"0.0025\"}} 1"),
            format!("vllm:e2e_request_latency_seconds_bucket{{{model},le=\"0.05\"}} 3"),
            format!("vllm:e2e_request_latency_seconds_bucket{{{model},le=\"60\"}} 3"),
            format!("vllm:e2e_request_latency_seconds_bucket{{{model},le=\"+Inf\"}} 4"),
            format!("vllm:generation_tokens_total{{{model}}} 20"),
            format!("vllm:request_success_total{{{model},finished_reason=\"length\"}} 4"),
        ] {
            assert!(page.lines().any(|seen| seen == line), "no {line}\n{page}");
        }
    }
}
