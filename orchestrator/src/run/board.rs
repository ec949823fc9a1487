//! The board: where each step of a run stands, with all that follows from it kept up to date.
//!
//! Ready steps stand in order, counts and used slots are kept, and only the steps that need the one that changed are looked at: a change
//! costs the same in a run of ten steps and of a hundred thousand.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::{Node, Slots};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    Waiting,
    Starting,
    Live { token: String, since: i64, visible: bool },
    Backoff { until: i64 },
    Committing,
    Done,
    Failed,
    Blocked,
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopping {
    Pause,
    Cancel,
    Timeout,
}

#[derive(Debug, Clone)]
pub(super) struct Progress {
    pub(super) phase: Phase,
    pub(super) failures: u32,
    pub(super) halvings: u32,
    pub(super) returns: u32,
    pub(super) stopping: Option<(Stopping, i64, bool)>,
}

/// What a phase counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// It may still start.
    Open,
    /// Its attempt lives, or its output is on the way into the store.
    Busy,
    /// Its artifact is there.
    Done,
    /// It will not be done.
    Lost,
}

impl Phase {
    pub(super) fn group(&self) -> Group {
        match self {
            Self::Waiting | Self::Backoff { .. } => Group::Open,
            Self::Starting | Self::Live { .. } | Self::Committing => Group::Busy,
            Self::Done => Group::Done,
            Self::Failed | Self::Blocked | Self::Cancelled => Group::Lost,
        }
    }

    /// Whether it takes slots: a commit is the disk's work, and the next step may start beside it.
    fn holds_slots(&self) -> bool {
        matches!(self, Self::Starting | Self::Live { .. })
    }
}

/// Where a ready step stands in the queue: priority, work, then the order of the plan.
pub(super) type Rank = (Reverse<i64>, Reverse<u64>, usize);

/// Where each step of a run stands.
#[derive(Debug, Clone)]
pub(super) struct Board {
    /// The steps, in topological order.
    pub(super) nodes: Vec<Node>,
    /// How each stands; phases change by [`Board::set_phase`] alone.
    pub(super) progress: Vec<Progress>,
    /// Steps that wait for each step.
    dependents: Vec<Vec<usize>>,
    /// How many of each step's needs are not done, and how many of those never will be.
    pub(super) missing: Vec<(usize, usize)>,
    /// Steps that may start, in the order in which they do.
    pub(super) ready: BTreeSet<Rank>,
    /// Steps with a live attempt.
    pub(super) live: BTreeSet<usize>,
    /// Steps that wait for a time.
    pub(super) backoffs: BTreeSet<(i64, usize)>,
    /// Steps that a lost one or its return may have blocked or set free.
    pub(super) touched: BTreeSet<usize>,
    /// Steps that may still start.
    pub(super) num_open: usize,
    /// Steps with a live attempt or a commit that goes on.
    pub(super) num_busy: usize,
    /// The slots that are taken.
    pub(super) used: Slots,
}

impl Board {
    /// A board of steps that wait or are done.
    pub(super) fn new(nodes: Vec<Node>) -> Self {
        let waiting =
            Progress { phase: Phase::Waiting, failures: 0, halvings: 0, returns: 0, stopping: None };
        let mut board = Self {
            progress: vec![waiting; nodes.len()],
            dependents: vec![Vec::new(); nodes.len()],
            missing: nodes.iter().map(|node| (node.needs.len(), 0)).collect(),
            ready: BTreeSet::new(),
            live: BTreeSet::new(),
            backoffs: BTreeSet::new(),
            touched: BTreeSet::new(),
            num_open: nodes.len(),
            num_busy: 0,
            used: Slots::NONE,
            nodes,
        };
        for step in 0..board.nodes.len() {
            for need in board.nodes[step].needs.clone() {
                board.dependents[need].push(step);
            }
        }
        for step in 0..board.nodes.len() {
            if board.nodes[step].done {
                board.set_phase(step, Phase::Done);
            }
            board.queue(step);
        }
        board
    }

    /// Whether steps wait for this one.
    pub(super) fn has_dependents(&self, step: usize) -> bool {
        !self.dependents[step].is_empty()
    }

    /// The only way from one phase to another: keeps counts, queues and the needs of others.
    pub(super) fn set_phase(&mut self, step: usize, phase: Phase) {
        let old = std::mem::replace(&mut self.progress[step].phase, phase);
        let (before, now) = (old.group(), self.progress[step].phase.group());
        if let Phase::Backoff { until } = old {
            self.backoffs.remove(&(until, step));
        }
        if let Phase::Backoff { until } = self.progress[step].phase {
            self.backoffs.insert((until, step));
        }
        if matches!(self.progress[step].phase, Phase::Live { .. }) {
            self.live.insert(step);
        } else {
            self.live.remove(&step);
        }
        self.queue(step);
        let (held, holds) = (old.holds_slots(), self.progress[step].phase.holds_slots());
        let slots = self.nodes[step].slots;
        if holds && !held {
            self.used += slots;
        } else if held && !holds {
            self.used -= slots;
        }
        if before == now {
            return;
        }
        match before {
            Group::Open => self.num_open -= 1,
            Group::Busy => self.num_busy -= 1,
            Group::Done | Group::Lost => {}
        }
        match now {
            Group::Open => self.num_open += 1,
            Group::Busy => self.num_busy += 1,
            Group::Done | Group::Lost => {}
        }
        for at in 0..self.dependents[step].len() {
            let dependent = self.dependents[step][at];
            let (open, lost) = &mut self.missing[dependent];
            *open = *open + usize::from(before == Group::Done) - usize::from(now == Group::Done);
            *lost = *lost + usize::from(now == Group::Lost) - usize::from(before == Group::Lost);
            if before == Group::Lost || now == Group::Lost {
                self.touched.insert(dependent);
            }
            self.queue(dependent);
        }
    }

    /// Puts a step into the queue of those that may start, or takes it out.
    fn queue(&mut self, step: usize) {
        let rank = (Reverse(self.nodes[step].priority), Reverse(self.nodes[step].work), step);
        if self.progress[step].phase == Phase::Waiting && self.missing[step] == (0, 0) {
            self.ready.insert(rank);
        } else {
            self.ready.remove(&rank);
        }
    }

    /// A step that this one needs and that will not be done.
    pub(super) fn blocker(&self, step: usize) -> Option<usize> {
        let lost = |need: &usize| self.progress[*need].phase.group() == Group::Lost;
        self.nodes[step].needs.iter().copied().find(lost)
    }
}
