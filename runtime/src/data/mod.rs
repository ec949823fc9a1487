//! `kind: data`: raw files to a clean, split corpus.
//!
//! The way of a document, each station a rule of the funnel in `statistics.json`:
//!
//! 1. `read`: files in a seeded order until `max_bytes`; what can't be read as its format is counted by reason.
//! 2. `exact_document`: of documents with the same text the first stays.
//! 3. `language`, judged on prose: Markdown without code, Rust's comments. Too little prose to judge stays.
//! 4. `filter`: prose rules (Gopher, C4, FineWeb) look at Markdown, text and JSONL; the `code` rules at Rust.
//! 5. `pii`: personal data and secrets are replaced, or take their document with them.
//! 6. `extract`: instruction pairs from doc comments, before paragraphs of other documents go.
//! 7. `lines` and `paragraphs`: what stands in other documents too goes; licence headers are the bulk of it.
//! 8. `split`: no unit (crate) is on both sides.
//!
//! Invariants: the output does not depend on the number of threads; nothing leaves without a line in the funnel; no excerpt in the
//! statistics shows personal data. The documents of one step are held in memory: about ten bytes a byte of input.

mod dedup;
mod doc_text;
mod document;
mod error;
mod extract;
mod filter;
mod funnel;
pub mod job;
mod language;
mod page;
pub mod pairs;
mod pii;
mod read;
pub mod shard;
mod split;
mod write;

pub use error::DataError;
