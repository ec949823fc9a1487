//! `lora` as the user writes it.

use super::LoraTarget;
use crate::spec::list::Filled;
use crate::spec::written::written;

written! {
    /// Low-rank adapters: the model's own weights stay as they are, and small matrices beside them train. The model that the job leaves has them
    /// merged, and holds them in PEFT's format too, under `adapter/`.
    pub(crate) struct LoraWritten {
        /// Rank: how many directions an adapter has.
        rank: u64 = "16"; 1 ..= 4096,
        /// Scale: an adapter's product is multiplied by alpha / rank.
        alpha: f64 = "32"; 0.000_001 ..= 1_000_000.0,
        /// Makes the scale alpha / √rank, so that a high rank learns as a low one does.
        use_rslora: bool = "false",
        /// Matrices of each layer: q, k, v, o, gate, up, down; all-linear is each of them that the model has. GPT-2's q, k and v are one.
        targets: Filled<LoraTarget> = "[q, k, v, o, up, down]",
        /// Share of an adapter's inputs that are zero in a pass that trains; ppo takes none.
        dropout: f64 = "0"; 0.0 ..= 0.99,
    }
}
