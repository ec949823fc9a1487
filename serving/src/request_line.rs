//! The access log: a line for each request, written when all of it is over, the last token of a stream or the hang-up of its client included. It
//! names who asked, counts tokens and measures times; it never has a key, a prompt or an answer.
//!
//! The line belongs to the request's task while its handler runs ([`current`]); answers hold it beyond that, and add themselves when they end.

use std::future::Future;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::app::App;
use crate::keys::{ANYONE, Asker};
use crate::metrics::Finish;
use crate::request_trace::{ModelWords, RequestFacts, RequestTrace};

tokio::task_local! {
    static LINE: Arc<RequestLine>;
}

/// nginx's word for a client that went before it had an answer's head.
const CLIENT_GONE: u16 = 499;

/// What the log will say of a request.
#[derive(Debug)]
pub(crate) struct RequestLine {
    request_id: String,
    method: String,
    route: String,
    trace: Option<RequestTrace>,
    started: Instant,
    asker: OnceLock<Arc<Asker>>,
    status: AtomicU16,
    head_micros: AtomicU64,
    model: OnceLock<ModelWords>,
    error: OnceLock<&'static str>,
    /// When the first answer was sent to the engine, since `started`; the largest number where none was.
    submitted_micros: AtomicU64,
    /// When the engine began with the first prompt; the largest number where it did with none.
    begun_micros: AtomicU64,
    /// When the first token of all answers came; the largest number where none did.
    first_token_micros: AtomicU64,
    /// When the last answer ended.
    answered_micros: AtomicU64,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    answer_tokens: AtomicU64,
    /// A bit for each [`Finish`].
    finishes: AtomicU16,
}

/// When what came of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerTimes {
    /// When it was sent to the engine.
    pub(crate) submitted: Instant,
    /// Since then, when its turn came.
    pub(crate) begun: Option<Duration>,
    /// Since then, when its first token came.
    pub(crate) first_token: Option<Duration>,
}

/// The line of the request that this task works on; none outside one.
pub(crate) fn current() -> Option<Arc<RequestLine>> {
    LINE.try_with(Arc::clone).ok()
}

impl RequestLine {
    pub(crate) fn new(
        request_id: String,
        method: String,
        route: String,
        trace: Option<RequestTrace>,
    ) -> Arc<Self> {
        Arc::new(Self {
            request_id,
            method,
            route,
            trace,
            started: Instant::now(),
            asker: OnceLock::new(),
            status: AtomicU16::new(CLIENT_GONE),
            head_micros: AtomicU64::new(0),
            model: OnceLock::new(),
            error: OnceLock::new(),
            submitted_micros: AtomicU64::new(u64::MAX),
            begun_micros: AtomicU64::new(u64::MAX),
            first_token_micros: AtomicU64::new(u64::MAX),
            answered_micros: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            cached_tokens: AtomicU64::new(0),
            answer_tokens: AtomicU64::new(0),
            finishes: AtomicU16::new(0),
        })
    }

    /// Runs a handler as the work on this request.
    pub(crate) async fn within<T>(self: &Arc<Self>, handler: impl Future<Output = T>) -> T {
        LINE.scope(Arc::clone(self), handler).await
    }

    /// The answer's head goes out.
    pub(crate) fn set_head(&self, status: u16, asker: Option<&Arc<Asker>>) {
        self.status.store(status, Ordering::Relaxed);
        self.head_micros.store(self.started.elapsed().as_micros() as u64, Ordering::Relaxed);
        if let Some(asker) = asker {
            self.asker.get_or_init(|| Arc::clone(asker));
        }
    }

    /// The request is about this model. Only spans say so.
    pub(crate) fn set_model(&self, app: &App) {
        if self.trace.is_some() {
            self.model.get_or_init(|| ModelWords {
                name: app.name().to_owned(),
                system_fingerprint: app.system_fingerprint(),
            });
        }
    }

    /// An answer ended before it was complete, for this reason.
    pub(crate) fn set_error(&self, code: &'static str) {
        self.error.get_or_init(|| code);
    }

    /// The engine takes prompts of so many tokens.
    pub(crate) fn add_prompt(&self, tokens: usize) {
        self.prompt_tokens.fetch_add(tokens as u64, Ordering::Relaxed);
    }

    /// An answer is over. It has times where the engine was asked for it.
    pub(crate) fn add_answer(
        &self,
        (cached, tokens): (u64, u64),
        times: Option<AnswerTimes>,
        finish: Finish,
    ) {
        self.cached_tokens.fetch_add(cached, Ordering::Relaxed);
        self.answer_tokens.fetch_add(tokens, Ordering::Relaxed);
        if let Some(AnswerTimes { submitted, begun, first_token }) = times {
            let submitted = submitted.saturating_duration_since(self.started);
            for (first, after) in [
                (&self.submitted_micros, Some(Duration::ZERO)),
                (&self.begun_micros, begun),
                (&self.first_token_micros, first_token),
            ] {
                let micros = after.map_or(u64::MAX, |after| (submitted + after).as_micros() as u64);
                first.fetch_min(micros, Ordering::Relaxed);
            }
        }
        self.answered_micros.fetch_max(self.started.elapsed().as_micros() as u64, Ordering::Relaxed);
        self.finishes.fetch_or(1 << finish as u16, Ordering::Relaxed);
    }

    /// What is known now.
    fn facts(&self) -> RequestFacts<'_> {
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let time = |micros: &AtomicU64| match number(micros) {
            u64::MAX => None,
            micros => Some(Duration::from_micros(micros)),
        };
        let status = self.status.load(Ordering::Relaxed);
        RequestFacts {
            request_id: &self.request_id,
            method: &self.method,
            route: &self.route,
            asker: self.asker.get().map(|asker| asker.name.as_str()),
            status: (status != CLIENT_GONE).then_some(status),
            model: self.model.get(),
            prompt_tokens: number(&self.prompt_tokens),
            cached_tokens: number(&self.cached_tokens),
            answer_tokens: number(&self.answer_tokens),
            finishes: Finish::words(self.finishes.load(Ordering::Relaxed)),
            error: self.error.get().copied(),
            submitted: time(&self.submitted_micros),
            begun: time(&self.begun_micros),
            first_token: time(&self.first_token_micros),
            answered: Duration::from_micros(number(&self.answered_micros)),
            whole: self.started.elapsed(),
        }
    }
}

impl Drop for RequestLine {
    fn drop(&mut self) {
        let facts = self.facts();
        let trace_id = self.trace.as_ref().and_then(|trace| trace.end(&facts));
        let trace_id = trace_id.as_deref();
        let RequestFacts { request_id, method, route, .. } = facts;
        let asker = facts.asker.unwrap_or(ANYONE);
        let status = facts.status.unwrap_or(CLIENT_GONE);
        let millis = self.head_micros.load(Ordering::Relaxed) / 1000;
        let total_millis = facts.whole.as_millis() as u64;
        if facts.finishes.is_empty() {
            tracing::info!(%request_id, trace_id, %method, route, status, millis, total_millis, asker, "request");
            return;
        }
        let finish = facts.finishes.join(",");
        let waited =
            facts.first_token.zip(facts.submitted).map(|(first, submitted)| first.saturating_sub(submitted));
        let first_token_millis = waited.map(|waited| waited.as_millis() as u64);
        let RequestFacts { prompt_tokens, cached_tokens, answer_tokens, .. } = facts;
        tracing::info!(
            %request_id, trace_id, %method, route, status, millis, first_token_millis, total_millis, asker, prompt_tokens, cached_tokens,
            answer_tokens, finish, "request"
        );
    }
}
