//! The spec language of Cupola and the contracts between its processes.
//!
//! * [`spec`]: what a user writes, from YAML text to a [`spec::ResolvedSpec`] with nothing optional, every error at once.
//! * [`job`]: the seven job kinds; each file holds the job as written, its docs, and the parameters of its steps.
//! * [`contract`]: job file, event stream and source list: what the orchestrator and a worker say to each other.
//! * [`gate`]: the expression that decides whether a model may replace the served one.
//! * [`artifact`]: what a committed folder holds: the manifest and the typed files inside.
//!
//! Nothing here knows tensors, processes or an async runtime.

pub mod artifact;
pub mod contract;
pub mod gate;
pub mod job;
pub mod spec;
