//! What the orchestrator and a worker say to each other: files only, so that either may die and the other goes on; and the options of the server,
//! which the orchestrator's command line has too.
//!
//! An attempt's folder holds, in the order they appear:
//!
//! | file | written by | what |
//! |---|---|---|
//! | `job.json` | orchestrator | [`JobFile`] |
//! | `sources.jsonl` | orchestrator | one [`SourceFile`] a line: the local files that the step reads, with their hashes |
//! | `started.json` | shim | [`Started`], created exclusively |
//! | `heartbeat` | shim | touched each second while the worker lives |
//! | `events.jsonl` | worker | one [`Event`] a line, append-only |
//! | `checkpoints/` | worker | resumable states; each attempt of a step shares the step's folder |
//! | `stderr.log` | worker | its log lines and, after a crash, the panic |
//! | `rank-N.events.jsonl`, `rank-N.stderr.log` | rank N of a worker with several, but for the first | what it says |
//! | `result.json` | shim | [`ShimResult`], by write, fsync, rename |

mod event;
mod job_file;
mod rates;
mod server;
mod server_values;
mod telemetry;
mod trial;

pub(crate) use event::nan_as_null;
pub use event::{CheckpointRecord, ErrorClass, Event, EventBody, Failure, StateShard};
pub use job_file::{InputArtifact, JobFile, ShimResult, SourceFile, Started};
pub use rates::{AttentionRate, MachineRates, RateAt, RatesKey, RecurrentRate};
pub use server::{GivenServerOptions, Quantization, ServerOptions};
pub use server_values::{AdapterSource, Speculation};
pub use telemetry::{MlflowTarget, TelemetryTargets, WandbTarget};
pub use trial::{Trial, TrialLoss, TrialSecs};
