//! The OpenAI-compatible HTTP server around Cupola's inference engine.
//!
//! A request's way: [`router`](router()) → checks of access → `api` (fields, prompt, admission) → the engine's thread → text → JSON or
//! server-sent events. Handlers are async; the engine blocks, so it has a thread of its own and talks through channels. An answer
//! is stopped by dropping it: a client that goes away frees its slot before the engine's next step.

mod config;
mod error;

mod model_folder;

mod engine_thread;
mod metrics;

mod answer;
mod app;

mod access;
mod api;
mod page;
mod router;
mod server;

pub use app::{App, Shared};
pub use config::ServeConfig;
pub use error::ServeError;
pub use model_folder::{SamplingDefaults, ServedModel};
pub use router::router;
pub use server::serve;
