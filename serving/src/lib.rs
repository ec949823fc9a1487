//! The OpenAI-compatible HTTP server around Cupola's inference engine.
//!
//! A request's way: `connection` (accept loop, time-outs, caps) → [`router`](router()) → checks of access → `api` (fields, prompt,
//! admission, quotas) → the engine's thread → text → JSON or server-sent events. Handlers are async; the engine blocks, so it has a thread of its own and talks through channels. An answer
//! is stopped by dropping it: a client that goes away frees its slot before the engine's next step.

mod config;
mod error;
mod phase;

mod forms;
mod model_folder;

mod decoder;
mod engine_thread;
mod metrics;

mod loaded;
mod roster;
mod served_file;

mod keys;
mod request_line;
mod request_trace;

mod answer;
mod app;
mod moderation;
mod tools;

mod access;
mod adapter;
mod api;
mod page;
mod router;

mod connection;
mod server;
mod speculation;
mod watch;

pub use app::{App, House, Shared};
pub use config::{ConnectionLimits, Drain, ModelSource, RequestLimits, ServeConfig, TlsFiles};
pub use error::ServeError;
pub use keys::new_key;
pub use model_folder::{SamplingDefaults, ServedModel};
pub use phase::Phase;
pub use router::{openapi, router};
pub use server::{Server, Stop};
