//! Live progress of a run, for people who look on: bars on a terminal, plain lines elsewhere.
//!
//! The words are pure functions of the read model ([`mod@line`]); [`Display`] only decides when and where they are shown.

mod display;
mod line;

pub use display::{Display, DisplayMode};
pub use line::{ended_line, eta_secs, running_line, sparkline};
