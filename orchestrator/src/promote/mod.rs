//! Promotion: which model is served, and why.
//!
//! ```text
//! Rules (spec) + run ─candidate─▶ Proposal ─gate, decide─▶ PromotionRecord (journal) ─pointer─▶ served.json ─▶ `cupola serve`
//! ```
//! A run that made or found the model of `serve` proposes it, once. The gate (`promote_if`) sees the newest reports about it and about the
//! model that is served; a person decides where `approval` is required. What is served changes by a promotion and by nothing else, and
//! goes back by a rollback. A model that a person rolled back or rejected is never promoted by a run again, only by hand.
//!
//! One note of the journal is one change: there is nothing to do twice after a crash. `served.json` only says what the journal says, and is
//! written anew wherever it differs. Each spec serves one model; its promotions that stand are a stack, and the newest is served.

mod error;
mod record;
mod rules;

mod change;
mod decide;
mod gather;

mod pointer;
mod text;

#[cfg(test)]
mod histories;

pub use change::{Change, Person, approve, promote_by_hand, reject, roll_back};
pub use decide::{Decision, Proposal, decide, is_settled, last_word};
pub use error::PromoteError;
pub use gather::{Candidate, propose};
pub use pointer::{Served, ServedModel, is_synced, read_served, served_of, sync_served};
pub use record::{
    GateRecord, ModelRecord, Moment, PromotionBook, PromotionRecord, PromotionState, ServedBy, forget,
};
pub use rules::{EvalRules, ModelRules, Rules, rules_of};
pub use text::{decision_line, run_line, saw, served_line};
