//! The access log: a line for each request, written when all of it is over, the last token of a stream or the hang-up of its client included. It
//! names who asked, counts tokens and measures times; it never has a key, a prompt or an answer.
//!
//! The line belongs to the request's task while its handler runs ([`current`]); answers hold it beyond that, and add themselves when they end.

use std::future::Future;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::keys::Asker;
use crate::metrics::Finish;

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
    started: Instant,
    asker: OnceLock<Arc<Asker>>,
    status: AtomicU16,
    head_micros: AtomicU64,
    first_token_micros: AtomicU64,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    answer_tokens: AtomicU64,
    /// A bit for each [`Finish`].
    finishes: AtomicU16,
}

/// The line of the request that this task works on; none outside one.
pub(crate) fn current() -> Option<Arc<RequestLine>> {
    LINE.try_with(Arc::clone).ok()
}

impl RequestLine {
    pub(crate) fn new(request_id: String, method: String, route: String) -> Arc<Self> {
        Arc::new(Self {
            request_id,
            method,
            route,
            started: Instant::now(),
            asker: OnceLock::new(),
            status: AtomicU16::new(CLIENT_GONE),
            head_micros: AtomicU64::new(0),
            first_token_micros: AtomicU64::new(u64::MAX),
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

    /// The engine takes prompts of so many tokens.
    pub(crate) fn add_prompt(&self, tokens: usize) {
        self.prompt_tokens.fetch_add(tokens as u64, Ordering::Relaxed);
    }

    /// An answer is over.
    pub(crate) fn add_answer(
        &self,
        (cached, tokens): (u64, u64),
        first_token: Option<Duration>,
        finish: Finish,
    ) {
        self.cached_tokens.fetch_add(cached, Ordering::Relaxed);
        self.answer_tokens.fetch_add(tokens, Ordering::Relaxed);
        if let Some(first) = first_token {
            self.first_token_micros.fetch_min(first.as_micros() as u64, Ordering::Relaxed);
        }
        self.finishes.fetch_or(1 << finish as u16, Ordering::Relaxed);
    }
}

impl Drop for RequestLine {
    fn drop(&mut self) {
        let Self { request_id, method, route, .. } = &*self;
        let asker = self.asker.get().map_or("-", |asker| asker.name.as_str());
        let status = self.status.load(Ordering::Relaxed);
        let millis = self.head_micros.load(Ordering::Relaxed) / 1000;
        let total_millis = self.started.elapsed().as_millis() as u64;
        let finishes = self.finishes.load(Ordering::Relaxed);
        if finishes == 0 {
            tracing::info!(%request_id, %method, route, status, millis, total_millis, asker, "request");
            return;
        }
        let finish = Finish::words(finishes);
        let first_token_millis = match self.first_token_micros.load(Ordering::Relaxed) {
            u64::MAX => None,
            micros => Some(micros / 1000),
        };
        let [prompt_tokens, cached_tokens, answer_tokens] =
            [&self.prompt_tokens, &self.cached_tokens, &self.answer_tokens]
                .map(|count| count.load(Ordering::Relaxed));
        tracing::info!(
            %request_id, %method, route, status, millis, first_token_millis, total_millis, asker, prompt_tokens, cached_tokens,
            answer_tokens, finish, "request"
        );
    }
}
