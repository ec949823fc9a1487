//! `lora` as the user writes it.

use super::LoraTarget;
use crate::spec::decode::At;
use crate::spec::list::Filled;
use crate::spec::reference::Ref;
use crate::spec::written::written;

written! {
    /// Low-rank adapters: the model's own weights stay as they are, and small matrices beside them train. The model that the job leaves has them
    /// merged, and holds them in PEFT's format too, under `adapter/`.
    pub(crate) struct LoraWritten {
        /// A model that was tuned with `lora`, or {path: DIR} of adapters in PEFT's format: training goes on from its adapters, and the job's
        /// model is the one that they stand beside. Default: adapters start anew.
        from: Option<Ref>,
        /// Rank: how many directions an adapter has. Default: 16, or with `from` its adapters'.
        rank: Option<At<u64>>; 1 ..= 4096,
        /// Scale: an adapter's product is multiplied by alpha / rank. Default: 32, or with `from` its adapters'.
        alpha: Option<At<f64>>; 0.000_001 ..= 1_000_000.0,
        /// Makes the scale alpha / √rank, so that a high rank learns as a low one does. Default: false, or with `from` its adapters'.
        use_rslora: Option<At<bool>>,
        /// Matrices of each layer: q, k, v, o, gate, up, down; all-linear is each of them that the model has. GPT-2's q, k and v are one.
        /// Default: [q, k, v, o, up, down], or with `from` its adapters'.
        targets: Option<At<Filled<LoraTarget>>>,
        /// Share of an adapter's inputs that are zero in a pass that trains; ppo takes none.
        dropout: f64 = "0"; 0.0 ..= 0.99,
    }
}
