//! Live progress of a run, for people who look on: bars on a terminal, plain lines elsewhere.

mod display;

pub use display::{Display, DisplayMode};
