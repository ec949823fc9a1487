//! The worker's frame: a job file comes in, one step runs in this process, events and staged files go out.
//!
//! * [`StepContext`]: what a step's `run` gets: the job file, its inputs, its named seeds, its events.
//! * [`EventWriter`]: the append-only event stream.
//! * [`StepError`]: what every error of a step says about itself, so that the orchestrator knows what to do next.
//! * [`Place`]: which of a step's ranks this process is.
//! * [`main`]: the way of one worker process, from `cupola-worker job.json` to its exit code.
//!
//! Invariants: the last line of the stream is `finished` or `failed`; `finished` is written after every staged file and
//! folder was synced; nothing but the job file decides what a step does.

mod context;
mod dispatch;
mod error;
mod events;
mod inspect;
mod llama_cpp;
mod others;
mod place;
mod quality;
#[cfg(test)]
pub(crate) mod sample;
mod staging;
mod trial;
mod worker;

pub use context::{StepContext, Summary};
pub use error::{ErrorFacts, JobError, StepError, failure_of};
pub use events::EventWriter;
pub use place::Place;
pub(crate) use staging::{PARTIAL, rename_durably, write_through};
pub use staging::{sync_tree, write_durably};
pub use worker::main;
