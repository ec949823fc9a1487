//! What `/metrics` shows, in Prometheus' text format. Names that vLLM has too are vLLM's, so that its dashboards read this server; what it has
//! no name for begins with `cupola_`. Nothing here locks or allocates for a token: a step and a token touch atomic numbers alone.

mod histogram;
mod model;
mod page;
mod slot_time;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::moderation::{Action, Scope};

pub(crate) use model::{AnswerFacts, EngineMeter, Finish, ModelMetrics};

/// Everything that `/metrics` shows.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    models: Mutex<BTreeMap<String, Arc<ModelMetrics>>>,
    connections: AtomicUsize,
    refused_connections: AtomicU64,
    engines: Arc<AtomicUsize>,
    swaps: Changes,
    key_reloads: Changes,
    certificate_reloads: Changes,
    rule_reloads: Changes,
    moderation: Mutex<BTreeMap<(String, &'static str, &'static str), u64>>,
    /// Texts that nobody judged, by scope.
    unjudged: Mutex<BTreeMap<&'static str, u64>>,
}

/// Changes of a running server that were carried out, and those that were refused.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    done: AtomicU64,
    failed: AtomicU64,
}

impl Changes {
    /// Counts one.
    pub(crate) fn count(&self, is_done: bool) {
        let counter = if is_done { &self.done } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn totals(&self) -> [(&'static str, u64); 2] {
        [("done", self.done.load(Ordering::Relaxed)), ("failed", self.failed.load(Ordering::Relaxed))]
    }
}

impl Metrics {
    /// Counts an HTTP request.
    pub(crate) fn count_request(&self, route: &str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route.to_owned(), status)).or_insert(0) += 1;
    }

    /// The numbers of a model, by its name: they go on when another model takes the name over.
    pub(crate) fn of_model(&self, name: &str) -> Arc<ModelMetrics> {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(models.entry(name.to_owned()).or_default())
    }

    /// What counts the engines whose memory is held.
    pub(crate) fn engines(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.engines)
    }

    /// Models that took a name over.
    pub(crate) fn swaps(&self) -> &Changes {
        &self.swaps
    }

    /// Times that the keys file was read again.
    pub(crate) fn key_reloads(&self) -> &Changes {
        &self.key_reloads
    }

    /// Times that the certificate was read again.
    pub(crate) fn certificate_reloads(&self) -> &Changes {
        &self.certificate_reloads
    }

    /// Times that the rules of moderation were read again.
    pub(crate) fn rule_reloads(&self) -> &Changes {
        &self.rule_reloads
    }

    /// Counts a text that no classifier judged, and gives how many of its scope there are.
    pub(crate) fn count_unjudged(&self, scope: Scope) -> u64 {
        let mut unjudged = self.unjudged.lock().unwrap_or_else(PoisonError::into_inner);
        let count = unjudged.entry(scope.word()).or_default();
        *count += 1;
        *count
    }

    /// Counts what moderation found.
    pub(crate) fn count_moderation(&self, category: &str, scope: Scope, action: Action) {
        let mut findings = self.moderation.lock().unwrap_or_else(PoisonError::into_inner);
        *findings.entry((category.to_owned(), scope.word(), action.word())).or_insert(0) += 1;
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
}
