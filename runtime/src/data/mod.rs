//! `kind: data`: raw files to a clean, split corpus.

pub mod error;
pub mod job;
pub mod pairs;
pub mod shard;

pub use error::DataError;
