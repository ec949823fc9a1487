//! The report card of a run: one self-contained HTML page and one Markdown file.
//!
//! ```text
//! RunView + artifact folders ─collect─▶ ReportFacts ─▶ headlines, figures ─▶ report.html, report.md
//! ```
//! [`collect`] is the only part that reads the disk; everything after it is a pure function of [`ReportFacts`], so that tests render
//! invented runs. What a run does not have (no rlhf job, a step that failed) is left out or shown as failed; it never ends the report.
//! The page loads nothing: style and plots are inline, colours follow the reader's light or dark scheme, and every plot has a
//! description for screen readers beside a table with the same numbers.

mod error;
mod facts;
pub(crate) mod format;

mod collect;
mod headline;

mod chart;
mod graph;
mod sections;

mod html;
mod markdown;

mod write;

#[cfg(test)]
mod invented;

pub use collect::collect;
pub(crate) use collect::step_facts;
pub use error::ReportError;
pub use facts::{LineageFacts, ModelFacts, Named, ReportFacts, RunFacts, StepFacts};
pub(crate) use graph::steps_svg;
pub use headline::{Headline, Verdict, headlines};
pub(crate) use html::STYLE;
pub use write::{ReportFiles, ReportOptions, write_run_report};
