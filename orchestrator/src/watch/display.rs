//! What is shown while a run goes on.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{ended_line, running_line};
use crate::state::WantedRoom;
use crate::state::{RunView, StepState, StepView};

/// Between two plain lines about a step that goes on.
const PLAIN_MILLIS: i64 = 5_000;
const BAR: &str = "{spinner} {prefix:24!} {bar:18} {percent:>3}%  {wide_msg}";
const SPINNER: &str = "{spinner} {prefix:24!} {wide_msg}";

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
        } else if std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        {
            Self::Live
        } else {
            Self::Plain
        }
    }
}

/// A display of one run on standard error.
#[derive(Debug)]
pub struct Display {
    mode: DisplayMode,
    bars: MultiProgress,
    running: BTreeMap<String, ProgressBar>,
    told: BTreeMap<String, (StepState, i64)>,
    begun: bool,
    waits_for: Option<WantedRoom>,
}

impl Display {
    /// A display that has shown nothing yet.
    pub fn new(mode: DisplayMode) -> Self {
        Self {
            mode,
            bars: MultiProgress::new(),
            running: BTreeMap::new(),
            told: BTreeMap::new(),
            begun: false,
            waits_for: None,
        }
    }

    /// Shows how the run stands now; call it a few times a second.
    pub fn update(&mut self, run: &RunView, now_millis: i64) {
        if self.mode == DisplayMode::Silent {
            return;
        }
        if !self.begun {
            self.begun = true;
            self.line(&begin_line(run));
        }
        if self.waits_for != run.waits_for {
            self.waits_for.clone_from(&run.waits_for);
            self.line(&run.waits_for.as_ref().map_or("goes on".to_owned(), WantedRoom::line));
        }
        for step in &run.steps {
            match self.mode {
                DisplayMode::Live => self.update_bar(step, now_millis),
                DisplayMode::Plain => self.update_plain(step, now_millis),
                DisplayMode::Silent => {}
            }
        }
    }

    /// Shows the end and takes the bars away.
    pub fn finish(&mut self, run: &RunView, now_millis: i64) {
        if self.begun {
            self.update(run, now_millis);
        }
        for bar in std::mem::take(&mut self.running).into_values() {
            bar.finish_and_clear();
        }
    }

    fn update_bar(&mut self, step: &StepView, now_millis: i64) {
        if self.news(step, now_millis) && is_told(step.state) {
            if let Some(bar) = self.running.remove(&step.name) {
                bar.finish_and_clear();
            }
            self.line(&ended_line(step, now_millis));
        }
        if step.state.is_live() {
            let bar =
                self.running.entry(step.name.clone()).or_insert_with(|| new_bar(&self.bars, &step.name));
            paint(bar, step, now_millis);
        } else if let Some(bar) = self.running.remove(&step.name) {
            bar.finish_and_clear();
        }
    }

    fn update_plain(&mut self, step: &StepView, now_millis: i64) {
        if self.news(step, now_millis) {
            if is_told(step.state) {
                self.line(&ended_line(step, now_millis));
            } else if step.state.is_live() || step.state == StepState::Backoff {
                self.line(&format!("· {}  {}", step.name, running_line(step, now_millis)));
            }
            return;
        }
        let due = self.told.get(&step.name).is_none_or(|(_, at)| now_millis - at >= PLAIN_MILLIS);
        if step.state.is_live() && step.progress.is_some() && due {
            self.told.insert(step.name.clone(), (step.state, now_millis));
            self.line(&format!("· {}  {}", step.name, running_line(step, now_millis)));
        }
    }

    /// Whether the step's state is not the one that was shown last; remembers it.
    fn news(&mut self, step: &StepView, now_millis: i64) -> bool {
        match self.told.get(&step.name) {
            Some((state, _)) if *state == step.state => false,
            _ => {
                self.told.insert(step.name.clone(), (step.state, now_millis));
                true
            }
        }
    }

    fn line(&self, text: &str) {
        if self.mode == DisplayMode::Live {
            // A terminal that went away can't be told so.
            let _ = self.bars.println(text);
        } else {
            eprintln!("{text}");
        }
    }
}

/// States that end in a line of their own.
fn is_told(state: StepState) -> bool {
    state.is_final() && state != StepState::Cached
}

fn begin_line(run: &RunView) -> String {
    let cached = run.steps.iter().filter(|step| step.cached).count();
    format!("run {}: {} steps, {cached} of them cached", run.id, run.steps.len())
}

fn new_bar(bars: &MultiProgress, name: &str) -> ProgressBar {
    let bar = bars.add(ProgressBar::new(1000));
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn paint(bar: &ProgressBar, step: &StepView, now_millis: i64) {
    let progress = step.progress.as_ref().filter(|progress| progress.total > 0.0);
    let template = if progress.is_some() { BAR } else { SPINNER };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    if let Some(progress) = progress {
        bar.set_position((progress.done / progress.total * 1000.0).clamp(0.0, 1000.0) as u64);
    }
    bar.set_message(running_line(step, now_millis));
}
