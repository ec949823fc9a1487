//! The parity seal: a model's folder says what the model answers, and whoever loads it checks that it still does.
//!
//! [`seal_of`] takes golden prompts through tokenizer, template and the training forward in fp32; [`write`] puts them beside the weights, and
//! an export for llama.cpp into its file. [`check`] takes the same prompts through what is about to serve: the ids must be equal, and the
//! log-probabilities within the [`Tolerance`] of the weights' format. A folder without a seal has nothing to check; its user is told.

mod check;
mod error;
mod file;
mod make;

#[cfg(test)]
mod tests;

pub(crate) use check::engine_log_probs;
pub use check::{Score, SealReport, Tolerance, check, check_engine, check_network};
pub use error::SealError;
pub(crate) use file::{GGUF_FACT, text_of};
pub use file::{read, write};
pub use make::seal_of;
#[cfg(test)]
pub(crate) use make::training_log_probs;
