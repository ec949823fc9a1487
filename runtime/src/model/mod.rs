//! Networks: each is one file, from its config to its forward pass; tensor names and `config.json` are Hugging Face's.
//!
//! Weights are fp32 masters; products run in the [`Precision`](cupola_specs::job::Precision) that a call names. The same seed gives the
//! same weights on every machine.

mod attention;
mod block;
mod config;
mod config_json;
mod error;
mod folder;
mod gguf;
mod kv_cache;
mod layers;
mod lora;
mod lstm;
mod module_names;
mod network;
mod parameter;
mod peft;
mod rope;
mod transformer;

pub use config::{SaveFacts, depth_shape};
pub use error::ModelError;
pub use folder::{SaveForm, WeightKind};
pub use gguf::GgufError;
pub(crate) use gguf::{BlockType, Fact, Gguf, export_gguf};
pub use kv_cache::{KvCache, RowSlot};
pub(crate) use layers::{Layout, NormKind};
pub use lstm::Lstm;
pub(crate) use module_names::Names;
pub use network::{Network, RowLayout, cross_entropy, token_log_probs};
pub use parameter::{ParamGroup, Parameter};
pub use peft::ADAPTER_FOLDER;
pub(crate) use rope::RopeTable;
pub use transformer::Transformer;

#[cfg(test)]
mod folder_tests;
#[cfg(test)]
mod lora_tests;
#[cfg(test)]
mod parity_tests;
#[cfg(test)]
pub(crate) use parity_tests::{CASES, fixture};
#[cfg(test)]
mod recompute_tests;
#[cfg(test)]
mod tests;
