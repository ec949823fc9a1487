//! Runs one step of a Cupola plan in one process, and holds the inference engine that every stage shares.
//!
//! The seven kinds of the spec stand on three shared rooms: [`model`], [`train`] and [`generate`]. [`job`] is the worker's frame:
//! job file in, events and staged files out.

pub mod job;

pub mod generate;
pub mod model;
pub mod seal;
pub mod telemetry;
pub mod train;

pub mod data;
pub mod eval;
pub mod pretrain;
pub mod rlhf;
pub mod scaling;
pub mod sft;
pub mod tokenizer;
