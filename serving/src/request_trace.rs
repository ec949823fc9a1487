//! A request of a generating route as spans for a collector, where one is named: the request itself, and what its time went into. They are made when
//! all of it is over, from what the access log's line knows; like it they never have a key, a prompt or an answer.
//!
//! Names and attributes are those of OpenTelemetry's semantic conventions for HTTP servers and for generative AI.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use cupola_otlp::{Spans, caller};
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};

use crate::app::Shared;
use crate::keys::ANYONE;

/// The routes that generate, and their operation's name.
const OPERATIONS: [(&str, &str); 4] = [
    ("/v1/chat/completions", "chat"),
    ("/v1/responses", "chat"),
    ("/v1/completions", "text_completion"),
    ("/v1/embeddings", "embeddings"),
];
/// Methods by their own name; another may be any word of a client's.
const METHODS: [&str; 9] = ["POST", "GET", "HEAD", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
/// How long the last spans may take when the server stops.
const FLUSH: Duration = Duration::from_secs(3);

/// What is known of a request when it is over. Times are since its head was read.
#[derive(Debug)]
pub(crate) struct RequestFacts<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) method: &'a str,
    pub(crate) route: &'a str,
    pub(crate) asker: Option<&'a str>,
    /// None where the client went before there was one.
    pub(crate) status: Option<u16>,
    pub(crate) model: Option<&'a ModelWords>,
    pub(crate) prompt_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) answer_tokens: u64,
    /// Why answers ended, each reason once.
    pub(crate) finishes: Vec<&'static str>,
    /// The code of what ended an answer before it was complete.
    pub(crate) error: Option<&'static str>,
    /// When the first answer was sent to the engine.
    pub(crate) submitted: Option<Duration>,
    /// When the engine began with the first prompt.
    pub(crate) begun: Option<Duration>,
    /// When the first token of all answers came.
    pub(crate) first_token: Option<Duration>,
    /// When the last answer ended.
    pub(crate) answered: Duration,
    pub(crate) whole: Duration,
}

/// Which model answers.
#[derive(Debug)]
pub(crate) struct ModelWords {
    /// Its name, or its adapter's.
    pub(crate) name: String,
    /// A word for its weights.
    pub(crate) system_fingerprint: Option<String>,
}

/// The trace that a request belongs to.
#[derive(Debug)]
pub(crate) struct RequestTrace {
    spans: Arc<Spans>,
    /// Whose request it is a part of; empty where nobody said so.
    caller: Context,
    operation: &'static str,
    scheme: &'static str,
    started: SystemTime,
}

impl RequestTrace {
    /// None where no collector is named, and of routes that do not generate.
    pub(crate) fn of(house: &Shared, route: &str, headers: &HeaderMap) -> Option<Self> {
        let spans = house.spans.as_ref()?;
        let (_, operation) = OPERATIONS.into_iter().find(|(known, _)| *known == route)?;
        Some(Self {
            spans: Arc::clone(spans),
            caller: named_caller(headers).unwrap_or_default(),
            operation,
            scheme: if house.certificates.is_some() { "https" } else { "http" },
            started: SystemTime::now(),
        })
    }

    /// The request is over. Puts its spans into the queue and gives the trace's id for the log.
    pub(crate) fn end(&self, facts: &RequestFacts) -> Option<String> {
        let method = METHODS.into_iter().find(|known| *known == facts.method).unwrap_or("_OTHER");
        let name = if method == "_OTHER" { "HTTP" } else { method };
        let error = error_type(facts);
        let status = if error.is_some() { Status::error("") } else { Status::Unset };
        let mut attributes = self.attributes(method, facts);
        attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
        let builder = SpanBuilder::from_name(format!("{name} {}", facts.route))
            .with_kind(SpanKind::Server)
            .with_start_time(self.started)
            .with_attributes(attributes)
            .with_status(status);
        let span = self.spans.tracer().build_with_context(builder, &self.caller);
        let context = self.caller.with_span(span);
        let span = context.span();
        if span.is_recording() {
            self.end_parts(&context, facts);
        }
        let id = span.span_context().clone();
        span.end_with_timestamp(self.started + facts.whole);
        id.is_valid().then(|| id.trace_id().to_string())
    }

    fn attributes(&self, method: &'static str, facts: &RequestFacts) -> Vec<KeyValue> {
        let route = facts.route.to_owned();
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.route", route.clone()),
            KeyValue::new("url.path", route),
            KeyValue::new("url.scheme", self.scheme),
            KeyValue::new("gen_ai.operation.name", self.operation),
            KeyValue::new("gen_ai.provider.name", "cupola"),
            KeyValue::new("cupola.request_id", facts.request_id.to_owned()),
        ];
        let mut add = |name: &'static str, value: Option<Value>| {
            attributes.extend(value.map(|value| KeyValue::new(name, value)));
        };
        let count = |tokens: u64| (tokens > 0).then(|| Value::from(tokens as i64));
        let text = |text: &str| Value::from(text.to_owned());
        let has_answers = !facts.finishes.is_empty();
        let reasons = || facts.finishes.iter().map(|reason| StringValue::from(*reason)).collect();
        add("http.response.status_code", facts.status.map(|status| Value::from(i64::from(status))));
        add("enduser.id", facts.asker.filter(|name| *name != ANYONE).map(text));
        add("gen_ai.request.model", facts.model.map(|model| text(&model.name)));
        add("gen_ai.response.model", facts.model.filter(|_| has_answers).map(|model| text(&model.name)));
        let fingerprint = facts.model.and_then(|model| model.system_fingerprint.as_deref());
        add("openai.response.system_fingerprint", fingerprint.filter(|_| has_answers).map(text));
        add("gen_ai.usage.input_tokens", count(facts.prompt_tokens));
        add("gen_ai.usage.cache_read.input_tokens", count(facts.cached_tokens));
        add("gen_ai.usage.output_tokens", has_answers.then(|| Value::from(facts.answer_tokens as i64)));
        add("gen_ai.response.finish_reasons", has_answers.then(|| Value::Array(Array::String(reasons()))));
        add("cupola.client_gone", is_client_gone(facts).then_some(Value::Bool(true)));
        attributes
    }

    /// What the time went into: the line, up to when the engine begins with the first answer; the prompt, up to the first token of all answers; the
    /// tokens that follow.
    fn end_parts(&self, request: &Context, facts: &RequestFacts) {
        let Some(submitted) = facts.submitted else { return };
        let part = |name: &'static str, from: Duration, to: Duration, tokens: &[(&'static str, u64)]| {
            let tokens = tokens.iter().map(|(name, tokens)| KeyValue::new(*name, *tokens as i64));
            let builder =
                SpanBuilder::from_name(name).with_start_time(self.started + from).with_attributes(tokens);
            let mut span = self.spans.tracer().build_with_context(builder, request);
            span.end_with_timestamp(self.started + to.max(from));
        };
        part("queue", submitted, facts.begun.unwrap_or(facts.answered), &[]);
        let Some(begun) = facts.begun else { return };
        let of_prompt =
            [("cupola.prompt_tokens", facts.prompt_tokens), ("cupola.cached_tokens", facts.cached_tokens)];
        part("prefill", begun, facts.first_token.unwrap_or(facts.answered), &of_prompt);
        if let Some(first) = facts.first_token {
            part("decode", first, facts.answered, &[("cupola.answer_tokens", facts.answer_tokens)]);
        }
    }
}

/// The caller by its headers. Two of them name none.
fn named_caller(headers: &HeaderMap) -> Option<Context> {
    let mut parents = headers.get_all("traceparent").iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
    let states: Vec<&str> =
        headers.get_all("tracestate").iter().filter_map(|state| state.to_str().ok()).collect();
    caller(parent.to_str().ok()?, &states.join(","))
}

/// What went wrong on the server's side; what a client did wrong is no error of the server's.
fn error_type(facts: &RequestFacts) -> Option<String> {
    match facts.status {
        Some(status @ 500..) => Some(status.to_string()),
        Some(400..) => None,
        _ => facts.error.map(str::to_owned),
    }
}

/// Whether an answer ended though nothing ended it here.
fn is_client_gone(facts: &RequestFacts) -> bool {
    let is_refused = facts.status.is_some_and(|status| status >= 400);
    let is_cut = facts.finishes.contains(&"abort") && facts.error.is_none();
    facts.status.is_none() || (is_cut && !is_refused)
}

/// Sends what is still there, within [`FLUSH`]; blocks.
pub(crate) fn close(spans: &Spans) {
    let lost = spans.close(FLUSH);
    if lost > 0 {
        tracing::warn!("the collector did not take {lost} spans; the last ones had {} s", FLUSH.as_secs());
    }
}
