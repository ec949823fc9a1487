//! What is shown while a run goes on.

use std::io::IsTerminal;

use crate::state::RunView;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisplayMode {
    /// Bars that move.
    Live,
    /// A line for each change, and at most every few seconds one for each running step.
    Plain,
    /// Nothing.
    Silent,
}

impl DisplayMode {
    /// Bars where standard error is a terminal, lines where it is not, nothing with `--json`.
    pub fn detect(json: bool) -> Self {
        if json {
            Self::Silent
        } else if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
            Self::Live
        } else {
            Self::Plain
        }
    }
}

/// A display of one run on standard error.
#[derive(Debug)]
pub struct Display {
    _mode: DisplayMode,
}

impl Display {
    /// A display that has shown nothing yet.
    pub fn new(mode: DisplayMode) -> Self {
        Self { _mode: mode }
    }

    /// Shows how the run stands now; call it a few times a second.
    pub fn update(&mut self, _run: &RunView, _now_millis: i64) {}

    /// Shows the end and takes the bars away.
    pub fn finish(&mut self, _run: &RunView, _now_millis: i64) {}
}
