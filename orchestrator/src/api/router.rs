//! The routes, and what every handler shares.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};

use super::{ApiError, Commands, access, events, orders, pages, prometheus, records, routes};
use crate::state::{Projection, RunView, StateDir, load_run, read_state};

/// What every handler shares.
#[derive(Clone)]
pub struct ApiState {
    dir: Arc<StateDir>,
    commands: Arc<Mutex<dyn Commands>>,
    token: Arc<str>,
}

impl ApiState {
    /// The state of an API over a state folder.
    pub fn new<C: Commands + 'static>(dir: &StateDir, commands: Arc<Mutex<C>>, token: &str) -> Self {
        Self { dir: Arc::new(dir.clone()), commands, token: token.into() }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn dir(&self) -> &StateDir {
        &self.dir
    }

    pub(super) fn commands(&self) -> MutexGuard<'_, dyn Commands + 'static> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work`, which reads files, off the threads that answer.
    pub(super) async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let state = self.clone();
        tokio::task::spawn_blocking(move || work(&state)).await.map_err(|_| ApiError::Stopped)?
    }

    pub(super) fn projection(&self) -> Result<Projection, ApiError> {
        Ok(read_state(&self.dir)?)
    }

    /// A run with everything that its workers said; `latest` is the newest.
    pub(super) fn run(&self, id: &str) -> Result<RunView, ApiError> {
        let wanted = (id != "latest").then_some(id);
        let found = load_run(&self.projection()?, wanted)?;
        found.ok_or_else(|| ApiError::Missing { what: "run", name: id.to_owned() })
    }
}

/// The control API and the dashboard.
pub fn router(state: ApiState) -> Router {
    let api = Router::new()
        .route("/runs", get(routes::runs))
        .route("/runs/{run}", get(routes::run))
        .route("/runs/{run}/step", get(routes::step))
        .route("/runs/{run}/metrics", get(routes::metrics))
        .route("/runs/{run}/events", get(events::events))
        .route("/runs/{run}/{verb}", post(routes::control))
        .route("/events", get(records::records))
        .route("/apply", post(orders::apply))
        .route("/orders/{order}", get(orders::order).delete(orders::withdraw))
        .route("/schedules", get(routes::schedules))
        .route("/schedules/{name}/{verb}", post(routes::schedule))
        .route("/commands/{ticket}", get(routes::command));
    let guarded = Router::new()
        .nest("/api/v1", api)
        .route("/metrics", get(prometheus::metrics))
        .route("/", get(pages::index))
        .route("/runs/{run}", get(pages::run))
        .route("/runs/{run}/report", get(pages::report))
        .layer(from_fn_with_state(state.clone(), access::check_token));
    Router::new()
        .merge(guarded)
        .route("/login", get(access::login))
        .route("/health", get(|| async { "ok\n" }))
        .layer(from_fn(access::check_host))
        .with_state(state)
}

#[cfg(test)]
mod tests;
