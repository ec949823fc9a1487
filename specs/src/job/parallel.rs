//! The ranks of a training step.

use serde::{Deserialize, Serialize};

/// How a training step is shared between processes. No part of its identity: any number of ranks ends with the same model but for rounding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParallelParams {
    /// Ranks that split the micro-batches of each optimiser step.
    pub data: u32,
    /// 0: each rank holds the whole state of the optimiser; 1: each holds a share (ZeRO-1).
    pub zero: u32,
    /// Seconds that a rank waits for the others; 0 is a week.
    pub timeout_secs: f64,
}

impl ParallelParams {
    /// One rank.
    pub const ALONE: Self = Self { data: 1, zero: 0, timeout_secs: 300.0 };
}
