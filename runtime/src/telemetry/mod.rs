//! Telemetry: what a training loop measures of itself, and where curves go beside the event stream. `TELEMETRY.md` lists each metric with unit
//! and formula, and each sink.
//!
//! * [`StepMeter`]: seconds, tokens a second, MFU, memory, data position.
//! * [`Peak`]: the FLOP/s that MFU is a share of.
//! * [`measure_rates`]: how fast the machine does the parts of a step, for plans.
//! * `Sinks`: CSV, JSONL, TensorBoard, MLflow and W&B, fed by [`EventWriter`](crate::job::EventWriter): every number and sample of the event
//!   stream, before its rate limit.
//!
//! Invariants: no sink changes a byte of an artifact, or fails a step; none that is a server makes training wait; an attempt that goes on at
//! step `n` leaves no step twice in a file.

mod error;
mod memory;
mod peak;
mod rates;

mod meter;

mod record;

mod lines;
mod protobuf;
mod tensorboard;

mod http;
mod position;
mod queue;

mod mlflow;
mod wandb;

mod sinks;

pub use meter::{DataPosition, StepMeter, StepWork};
pub use peak::Peak;
pub use rates::measure_rates;

pub(crate) use error::TelemetryError;
pub(crate) use record::{End, Origin, flat_params};
pub(crate) use sinks::Sinks;

use sinks::now_millis;

#[cfg(test)]
mod tests;
