//! `kind: data`: raw files to a clean, split corpus.
//!
//! The way of a document, each station a rule of the funnel in `statistics.json`. Passes leave their documents in segments on the disk, so
//! that memory does not grow with the corpus and a step that was killed goes on inside a file.
//!
//! 1. `sieve`: files in a seeded order until `max_bytes`; what can't be read is counted and named. Each document alone passes the
//!    `stations`: the main text of pages, addresses, language, filters, toxic text, personal data; Rust gives instruction pairs.
//! 2. `trim`: of documents with the same text the first stays; lines and paragraphs that stand in other documents go.
//! 3. `select`: near-duplicates go, and substrings that stood before.
//! 4. `split` and `write`: no unit (crate) is on both sides.
//!
//! Where weights of domains are fitted to runs of small models (`mixture`), this is done first: what is wrong with them is told before hours of work.
//!
//! Invariants: the output does not depend on the number of threads, on where segments and shards end, or on kills; nothing leaves without a
//! line in the funnel; no excerpt in the statistics shows personal data.

mod addresses;
mod clusters;
mod crawl;
mod decontamination;
mod dedup;
mod doc_text;
mod document;
mod domains;
mod error;
mod examples;
mod extract;
mod feed;
mod files;
mod filters;
mod funnel;
pub mod job;
#[cfg(test)]
mod job_tests;
mod language;
mod listing;
mod main_text;
mod mixture;
mod page;
pub mod pairs;
mod personal;
mod portrait;
mod quality;
mod rules;
#[cfg(test)]
pub(crate) mod sample;
mod segment;
mod select;
pub mod shard;
mod sieve;
mod split;
mod stations;
mod toxicity;
mod trim;
mod verbatim;
mod walk;
mod write;

pub use error::DataError;
