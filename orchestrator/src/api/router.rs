//! The routes, and what every handler shares.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Json, Router};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

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

/// What the document says of itself.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cupola's control API",
        description = "Runs, schedules and the journal of one state folder. It answers on loopback only, to holders of the folder's token."
    ),
    servers((url = "/api/v1")),
    security(("token" = [])),
    modifiers(&Token)
)]
struct Document;

/// The scheme of the token.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some("The text of `daemon.token` in the state folder.".to_owned());
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The routes of the API with their entries in the document: neither is there without the other.
fn described() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(routes::runs))
        .routes(routes!(routes::run))
        .routes(routes!(routes::step))
        .routes(routes!(routes::metrics))
        .routes(routes!(events::events))
        .routes(routes!(routes::control))
        .routes(routes!(records::records))
        .routes(routes!(orders::apply))
        .routes(routes!(orders::order, orders::withdraw))
        .routes(routes!(routes::schedules))
        .routes(routes!(routes::schedule))
        .routes(routes!(routes::command))
}

/// The OpenAPI document of the control API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().into_openapi()
}

/// The control API and the dashboard.
pub fn router(state: ApiState) -> Router {
    let (api, document) = described().split_for_parts();
    let guarded = Router::new()
        .nest("/api/v1", api)
        .route("/metrics", get(prometheus::metrics))
        .route("/", get(pages::index))
        .route("/runs/{run}", get(pages::run))
        .route("/runs/{run}/report", get(pages::report))
        .layer(from_fn_with_state(state.clone(), access::check_token));
    Router::new()
        .merge(guarded)
        .route("/api/v1/openapi.json", get(|| async { Json(document) }))
        .route("/login", get(access::login))
        .route("/health", get(|| async { "ok\n" }))
        .layer(from_fn(access::check_host))
        .with_state(state)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod document;
