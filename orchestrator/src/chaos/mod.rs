//! Chaos: a graph of real processes whose parts are killed, stopped and damaged until it is done anyway.
//!
//! A drill is a plan of 60 steps. Whatever is done to it, in the end each step was committed once, its output is that of a run that nobody
//! disturbed, and no command was needed but the one that drives it. [`kill_orchestrators`] is the campaign, [`FAULTS`] the list of
//! everything else.

mod error;
mod graph;
mod worker;

mod drive;
mod ground;

mod faults;
mod kills;

pub use drive::drive;
pub use error::ChaosError;
pub use faults::{Done, FAULTS, Fault};
pub(crate) use graph::random_plan;
pub use graph::{drill_plan, fan_plan};
pub use kills::{Campaign, kill_orchestrators};
pub use worker::run_drill_step;
