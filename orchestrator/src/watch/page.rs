//! The page's own state: what is selected, what is shown of it, and what each key does.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::Follower;
use crate::run::ControlVerb;
use crate::state::StepState;

/// What the lower part of the page, or all of it, shows of the selected step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// Progress, curve and the end of the log.
    Step,
    /// Why it runs, waits or failed.
    Why,
    /// The log on the whole page.
    Log,
}

/// What a key asks for beyond the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing.
    Nothing,
    /// To leave the page.
    Quit,
    /// To ask the process that drives the run.
    Ask(ControlVerb),
}

/// The page's own state.
#[derive(Debug)]
pub(super) struct Page {
    /// Steps by layer, then in the plan's order.
    pub(super) order: Vec<u32>,
    /// The selected row.
    pub(super) selected: usize,
    /// The first row that is shown.
    pub(super) offset: usize,
    /// What is shown of the selected step.
    pub(super) view: View,
    /// Whether the selection goes to what runs.
    pub(super) is_following: bool,
    /// Whether a cancel waits for its `y`.
    pub(super) is_asking: bool,
    /// Lines between the end of the log and the last one shown.
    pub(super) log_scroll: usize,
    /// What happened to the last wish.
    pub(super) notice: String,
    /// Rows that the list had room for at the last drawing.
    pub(super) list_rows: usize,
    /// Columns of the longest name, within reason.
    pub(super) name_width: usize,
}

/// Columns that a step's name may take.
const MAX_NAME: usize = 30;

impl Page {
    /// A page that follows what runs.
    pub(super) fn new() -> Self {
        Self {
            order: Vec::new(),
            selected: 0,
            offset: 0,
            view: View::Step,
            is_following: true,
            is_asking: false,
            log_scroll: 0,
            notice: String::new(),
            list_rows: 1,
            name_width: 8,
        }
    }

    /// The step that is selected.
    pub(super) fn step(&self) -> Option<usize> {
        self.order.get(self.selected).map(|at| *at as usize)
    }

    /// The steps whose events the page needs.
    pub(super) fn looked_at(&self) -> Vec<usize> {
        self.step().into_iter().collect()
    }

    /// Takes in what was polled: new steps, and another selection where it follows what runs.
    pub(super) fn settle(&mut self, follower: &Follower) {
        let Some(run) = follower.run() else { return };
        if self.order.len() != run.steps.len() {
            self.order = (0..run.steps.len() as u32).collect();
            self.order.sort_by_key(|at| (follower.depth(*at as usize), *at));
            let widest = run.steps.iter().map(|step| step.name.chars().count()).max();
            self.name_width = widest.unwrap_or(0).clamp(4, MAX_NAME);
        }
        let state = |row: usize| run.steps.get(self.order[row] as usize).map(|step| step.state);
        let is_live = |row: &usize| state(*row).is_some_and(StepState::is_live);
        if self.is_following && self.view != View::Log && !is_live(&self.selected.min(self.last())) {
            // Nothing runs: what failed is what is looked for.
            let failed = |row: &usize| state(*row) == Some(StepState::Failed);
            let next = (0..self.order.len()).find(is_live).or_else(|| (0..self.order.len()).find(failed));
            if let Some(row) = next {
                self.selected = row;
            }
        }
        self.selected = self.selected.min(self.last());
        self.scroll();
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: KeyEvent) -> Wish {
        self.notice.clear();
        if self.is_asking {
            self.is_asking = false;
            return if key.code == KeyCode::Char('y') {
                Wish::Ask(ControlVerb::Cancel)
            } else {
                Wish::Nothing
            };
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Wish::Quit,
            KeyCode::Char(_) if is_control => {}
            KeyCode::Esc if self.view != View::Step => self.show(View::Step),
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            KeyCode::Char('l') => self.show(View::Log),
            KeyCode::Char('w') => self.show(View::Why),
            KeyCode::Char('f') => self.is_following = !self.is_following,
            KeyCode::Char('p') => return Wish::Ask(ControlVerb::Pause),
            KeyCode::Char('r') => return Wish::Ask(ControlVerb::Resume),
            KeyCode::Char('c') => self.is_asking = true,
            code => self.go(code),
        }
        Wish::Nothing
    }

    /// Scrolls the log, where that is on the page, or the steps.
    fn go(&mut self, code: KeyCode) {
        let far = self.list_rows.max(2) as isize - 1;
        let by = match code {
            KeyCode::Up | KeyCode::Char('k') => -1,
            KeyCode::Down | KeyCode::Char('j') => 1,
            KeyCode::PageUp => -far,
            KeyCode::PageDown => far,
            KeyCode::Home | KeyCode::Char('g') => isize::MIN / 2,
            KeyCode::End | KeyCode::Char('G') => isize::MAX / 2,
            _ => return,
        };
        if self.view == View::Log {
            self.log_scroll = self.log_scroll.saturating_add_signed(by.saturating_neg());
        } else {
            self.is_following = false;
            self.selected = self.selected.saturating_add_signed(by).min(self.last());
            self.scroll();
        }
    }

    fn show(&mut self, view: View) {
        self.view = if self.view == view { View::Step } else { view };
        self.log_scroll = 0;
    }

    fn last(&self) -> usize {
        self.order.len().saturating_sub(1)
    }

    /// Keeps the selected row in sight.
    pub(super) fn scroll(&mut self) {
        let first = (self.selected + 1).saturating_sub(self.list_rows);
        let most = self.order.len().saturating_sub(self.list_rows);
        self.offset = self.offset.clamp(first, self.selected.max(first)).min(most.max(first));
    }
}
