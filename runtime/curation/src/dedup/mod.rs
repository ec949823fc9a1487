//! Deduplication of a corpus of any size in bounded memory. Of equal things the first in document order stays.
//!
//! | what is compared | module | memory |
//! |---|---|---|
//! | whole documents, by a 128-bit hash | [`ExactDedup`] | the budget |
//! | lines and paragraphs, by the same hash with blanks folded | [`PartCounter`] | the budget |
//! | near-duplicates, by MinHash-LSH over word n-grams | [`MinHasher`], [`BandFiles`] | the budget |
//! | substrings, by suffix array | [`SubstringDedup`] | the budget, by blocks |
//!
//! **Feeding.** The caller numbers documents in the corpus' order (`u64`, each number once) and names each source's *group* (`u32`, one
//! a document): only documents of one group are compared, so that one group for all is global and a group a source is per source. What
//! is added comes through *inputs*, each named, each fed by one thread, as many at once as [`Budget::with_writers`] says, documents in any
//! order. An input that was finished is not taken again after a crash: see [`sort`].
//!
//! **Results** are streamed in document order and follow from the documents, numbers and groups alone: not from threads, budget,
//! inputs or their order. They are read from scratch files in the folder: asking for one anew ends the one before it.
//!
//! **After a crash** inputs that were finished are there, and their results are made again.

mod bands;
mod clusters;
mod components;
mod error;
mod exact;
mod minhash;
mod parts;
mod repeats;
pub mod sort;
mod substring;
mod verify;
mod words;

pub use bands::{BandFiles, BandInput};
pub use clusters::{Clusters, Member, Members};
pub use error::{DedupError, Place};
pub use exact::{ExactDedup, ExactInput, folded_text_hash, text_hash};
pub use minhash::{MinHashParams, MinHasher, SKETCH_BYTES, Scratch, Signature, sketch_jaccard};
pub use parts::{Part, TextKind, lines, paragraphs, without};
pub use repeats::{Cut, CutReader, PartCounter, PartInput, PartRule};
pub use sort::Budget;
pub use substring::{SubstringCut, SubstringCuts, SubstringDedup, SubstringInput};
pub use verify::{PairReport, Verification};
