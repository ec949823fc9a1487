//! What becomes of raw data on its way to a corpus: the algorithms of `kind: data`, without the frame of a step.
//!
//! No tensor library, no clock, no global state: what a function does follows from its arguments. Every limit is in units of work
//! (bytes, nodes, matches), never in seconds, so that a document's fate is the same on every machine.

pub mod classifier;
pub mod crawl;
pub mod decontaminate;
pub mod dedup;
pub mod html;
pub mod language;
pub mod mixture;
pub mod pii;
pub mod read;
pub mod rules;
pub mod urls;
