//! What a training step computes twice to hold less memory.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What of a forward pass is computed again in backward instead of being kept until then (Chen et al., 2016, arXiv:1604.06174). No part of a
/// step's identity: the result is the same to the bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Recompute {
    /// Nothing.
    None,
    /// The inside of each layer: what is kept is its input. About a third more compute.
    Blocks,
}
