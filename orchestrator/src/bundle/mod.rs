//! The bundle: one file for a bug report, with what happened and without what is nobody's business.
//!
//! * [`Redactor`] takes secrets and home folders out of every text before it gets near the archive.
//! * [`Bundle`] collects texts, remembers what was left out and why, and writes a `tar.zst` whose `contents.json` lists both.
//! * The functions `add_*` know what helps: the machine, the journal's end, the run, and the attempts that did not go well.
//!
//! Never inside: weights, corpora, texts that a model wrote or was given, values of environment variables.

mod archive;
mod error;
mod machine;
mod redact;
mod run;
mod state;

pub use archive::{Bundle, Contents, Included, LeftOut};
pub use error::BundleError;
pub use machine::add_machine;
pub use redact::Redactor;
pub use run::add_run;
pub use state::{add_findings, add_journal};

#[cfg(test)]
mod tests;
