//! `lora`, resolved.

use super::written::LoraWritten;
use super::{LoraParams, LoraTarget};

/// Resolves adapters; the order in which targets are written says nothing.
pub(crate) fn lora(w: &LoraWritten) -> LoraParams {
    let mut targets = w.targets.0.clone();
    if targets.contains(&LoraTarget::AllLinear) {
        targets = vec![LoraTarget::AllLinear];
    }
    targets.sort_unstable();
    targets.dedup();
    LoraParams { rank: w.rank, alpha: w.alpha, use_rslora: w.use_rslora, targets, dropout: w.dropout }
}
