//! `kind: sft`: fine-tuning on chats.
//!
//! Chats are encoded with the template of the tokenizer ([`encode_chats`]), packed best-fit into rows that they do not share attention in
//! ([`pack_best_fit`], [`PackedBatch`]), and trained on the assistant's tokens alone. A chat is never cut: one that does not fit a row is
//! left out and counted.
//!
//! The same packed rows score whole sequences for the reward model, preference optimisation and eval ([`score_sequences`]).

mod batch;
mod chats;
mod error;
pub mod job;
mod objective;
mod order;
mod packing;
mod schedule;
mod score;
mod stage;

pub use batch::{PackedBatch, gather_log_probs, plan_rows};
pub use chats::{Chat, EncodedChats, encode_chats, message, read_chats};
pub use error::SftError;
pub use objective::{SftObjective, num_trained};
pub use order::{PassOrder, permutation};
pub use packing::pack_best_fit;
pub use schedule::ItemSchedule;
pub use score::{ScoreOptions, SequenceScore, packing_self_test, score_sequences, to_floats};
pub use stage::{
    Chosen, StageResult, StageRules, item_schedule, prepare, save_beside, save_facts, stage_plan,
    stage_rates, training_record,
};

#[cfg(test)]
mod lora_tests;
