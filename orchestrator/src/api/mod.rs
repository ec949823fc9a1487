//! The control API of the daemon, on loopback, and its dashboard.
//!
//! | route | what |
//! |---|---|
//! | `GET /health` | whether it answers; the only route without a token besides `/login` |
//! | `GET /api/v1/runs`, `/runs/{run}`, `/runs/{run}/metrics` | the read model |
//! | `GET /api/v1/runs/{run}/step?name=STEP` | one step, with attempts, curves and samples |
//! | `GET /api/v1/runs/{run}/events` | server-sent events: the run whenever it changed, until it ends |
//! | `GET /api/v1/events` | server-sent events: each record of the journal, after the one that `Last-Event-ID` names, or from now on |
//! | `GET /api/v1/schedules`, `/commands/{ticket}` | schedules with their firings; how a command that was started ended |
//! | `POST /api/v1/apply` | `{spec, only?, from?, set?, …}`: an order, which starts when nobody holds the folder and no older one waits |
//! | `GET /api/v1/orders/{order}` | how it stands: `waiting`, `running` or `ended`, its run, its exit code and what it said |
//! | `DELETE /api/v1/orders/{order}` | takes an order back that waits |
//! | `POST /api/v1/runs/{run}/{cancel,pause,resume,retry}` | `{job?}` |
//! | `POST /api/v1/schedules/{name}/{fire,pause,resume}` | |
//! | `GET /api/v1/openapi.json` | this, as an OpenAPI document; needs no token |
//! | `GET /metrics` | Prometheus text |
//! | `GET /`, `/runs/{run}`, `/runs/{run}/report` | the dashboard |
//!
//! Access: a request must name a loopback host (a page of another site that resolves to 127.0.0.1 does not) and show the token of the
//! state folder, as a bearer token; `GET` also takes the cookie that `/login?token=…` sets. A changing request never rests on a cookie.

mod access;
mod answers;
mod client;
mod commands;
mod error;
mod events;
mod orders;
mod pages;
mod prometheus;
mod records;
mod router;
mod routes;

pub use client::{ClientError, DaemonClient};
pub use commands::Commands;
pub use error::ApiError;
pub use orders::ApplyBody;
pub use router::{ApiState, openapi, router};
pub(crate) use routes::schedule_state;
