//! Chaos: a graph of real processes whose parts are killed, stopped and damaged until it is done anyway.

mod graph;
mod worker;

pub(crate) use graph::random_plan;
pub use graph::{drill_plan, fan_plan};
pub use worker::run_drill_step;
