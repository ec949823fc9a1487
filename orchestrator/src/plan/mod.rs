//! The plan: a resolved spec lowered to a graph of steps, each with its identity and with what is to be done about it.
//!
//! ```text
//! ResolvedSpec ─lower─▶ steps ─build─▶ Plan (order, files, fingerprints) ─decide─▶ cached | run | resume, and why
//! ```
//! Lowering, deciding and estimating are pure. Building reads the local source files, whose content is part of a step's identity.

mod error;
mod step;

mod order;

mod lower;
mod sources;

mod canonical;
mod external;
mod fingerprint;
mod graph;

mod difference;
mod fields;
mod reason;

mod between;
mod decide;
mod draw;
mod estimate;
mod render;

#[cfg(test)]
mod quickstart;

pub use between::changes_between;
pub use decide::{Action, Decision, decide};
pub use difference::compare;
pub use draw::{to_dot, to_svg};
pub use error::PlanError;
pub use estimate::{
    Estimate, Fitting, KnownRates, MACHINE_RATES, MemoryEstimate, Moment, RatesOf, Resources, SecsFrom,
    StepEstimate, TRIALS, TokenNeed, estimate, needed_rates, training_flops, training_flops_of,
    trainings_json, trial_name, trials,
};
pub use external::{absolute, check_kind, external_kind, folder_hash};
pub use fingerprint::{fingerprint, hashed_params, sources_by_label};
pub use graph::Plan;
pub use lower::{lower, result_step};
pub use order::CycleEdge;
pub use reason::Reason;
pub use render::{PlanCounts, plan_json, render_plan};
pub use sources::{FileHashes, collect_files};
pub use step::{Input, Machine, PlannedStep, Step, StepSettings};
