//! The scheduler: a pure state machine. Time and everything that happened come in as arguments, what is to be done comes out as commands.
//!
//! It promises: a step starts only after all that it needs is done; no slot is used twice; an attempt is followed by another only after
//! it ended or is proven dead (`Unknown` keeps its slots); what a stale attempt says changes nothing; every run comes to an end.
//!
//! Whatever happens costs what it changes, not what there is: see [`super::board`].

use std::collections::BTreeSet;
use std::ops::Bound;

use super::board::{Board, Group, Phase, Stopping};
use super::{Command, End, Happening, Node, Request, Slots};
use crate::state::{RunState, StepMove};

/// How long a worker may take to write a checkpoint and stop before it is ended.
const GRACE_MILLIS: i64 = 60_000;

/// The state machine of one run.
#[derive(Debug, Clone)]
pub struct Scheduler {
    pub(super) board: Board,
    slots: Slots,
    /// What each step would take if there were enough.
    wanted: Vec<Slots>,
    pub(super) mode: RunState,
    /// Whether the run is paused for want of room on the disk, and goes on by itself once there is some.
    pub(super) awaits_room: bool,
    /// Steps whose output is whole and waits for room in the store.
    pub(super) uncommitted: BTreeSet<usize>,
    ended: bool,
}

impl Scheduler {
    /// A scheduler of these steps, which stand in topological order. No step asks for more slots than there are: what is over is cut.
    pub fn new(nodes: Vec<Node>, slots: Slots) -> Self {
        let wanted: Vec<Slots> = nodes.iter().map(|node| node.slots).collect();
        let cut = |node: Node| Node { slots: slots.cut(node.slots), ..node };
        let board = Board::new(nodes.into_iter().map(cut).collect());
        Self {
            board,
            slots,
            wanted,
            mode: RunState::Running,
            awaits_room: false,
            uncommitted: BTreeSet::new(),
            ended: false,
        }
    }

    /// How the run stands.
    pub fn mode(&self) -> RunState {
        self.mode
    }

    /// Whether the run is paused until there is room on the disk.
    pub fn awaits_room(&self) -> bool {
        self.awaits_room
    }

    /// Whether nothing more will be asked for.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The slots in use.
    pub fn used(&self) -> Slots {
        self.board.used
    }

    /// The token of the step's live attempt.
    pub fn live_token(&self, step: usize) -> Option<&str> {
        match &self.board.progress.get(step)?.phase {
            Phase::Live { token, .. } => Some(token),
            _ => None,
        }
    }

    /// Whether other steps wait for this one.
    pub fn is_awaited(&self, step: usize) -> bool {
        self.board.has_dependents(step)
    }

    /// Takes in what happened and says what is to be done.
    pub fn handle(&mut self, now: i64, happening: Happening) -> Vec<Command> {
        let mut commands = Vec::new();
        match happening {
            Happening::Tick => self.tick(now, &mut commands),
            Happening::Adopted(attempts) => {
                for (step, token) in attempts {
                    if self.board.progress[step].phase.group() == Group::Open {
                        self.board.set_phase(step, Phase::Live { token, since: now, visible: true });
                    }
                }
            }
            Happening::Submitted { step, token } => {
                if self.board.progress[step].phase == Phase::Starting {
                    self.board.set_phase(step, Phase::Live { token, since: now, visible: true });
                    self.stop_if_unwanted(step, now, &mut commands);
                }
            }
            Happening::Seen { step, token, visible } => {
                if let Phase::Live { token: live, visible: seen, .. } = &mut self.board.progress[step].phase
                    && *live == token
                {
                    *seen = visible;
                }
            }
            Happening::Ended { step, token, end } => self.end(step, &token, end, now, &mut commands),
            Happening::Committed { step } => {
                if matches!(self.board.progress[step].phase, Phase::Committing | Phase::Starting) {
                    self.board.set_phase(step, Phase::Done);
                }
            }
            Happening::CommitFailed { step, failure } => {
                if self.board.progress[step].phase == Phase::Committing {
                    self.fail_commit(step, failure, now, &mut commands);
                }
            }
            Happening::Asked(request) => self.ask(request, now, &mut commands),
            Happening::SlotsChanged(slots) => self.slots = slots,
        }
        self.start_ready(now, &mut commands);
        self.settle(&mut commands);
        commands
    }

    fn tick(&mut self, now: i64, commands: &mut Vec<Command>) {
        for step in self.board.live.iter().copied() {
            let timeout = self.board.nodes[step].timeout_millis;
            let progress = &mut self.board.progress[step];
            let Phase::Live { since, .. } = progress.phase else { continue };
            match &mut progress.stopping {
                Some((_, asked, forced)) if !*forced && now - *asked > GRACE_MILLIS => {
                    *forced = true;
                    commands.push(Command::Stop { step, force: true });
                }
                None if timeout > 0 && now - since > timeout => {
                    progress.stopping = Some((Stopping::Timeout, now, false));
                    commands.push(Command::Stop { step, force: false });
                }
                _ => {}
            }
        }
    }

    fn end(&mut self, step: usize, token: &str, end: End, now: i64, commands: &mut Vec<Command>) {
        // What comes before the executor's answer, from a stale attempt or twice is not ours.
        if self.live_token(step) != Some(token) {
            return;
        }
        let stopping = self.board.progress[step].stopping.take().map(|(why, _, _)| why);
        match end {
            End::Finished => {
                self.board.set_phase(step, Phase::Committing);
                commands.push(Command::Commit(step));
            }
            End::Failed { failure, advanced } => {
                self.fail(step, failure, (advanced, stopping), now, commands);
            }
            End::NeverStarted if stopping == Some(Stopping::Cancel) => {
                self.move_step(step, Phase::Cancelled, StepMove::Cancelled, commands);
            }
            End::NeverStarted => self.move_step(step, Phase::Waiting, StepMove::Waiting, commands),
        }
    }

    pub(super) fn move_step(&mut self, step: usize, phase: Phase, to: StepMove, commands: &mut Vec<Command>) {
        self.board.set_phase(step, phase);
        commands.push(Command::Move { step, to });
    }

    fn ask(&mut self, request: Request, now: i64, commands: &mut Vec<Command>) {
        match request {
            Request::Pause if self.mode == RunState::Running || self.awaits_room => {
                self.awaits_room = false;
                self.stop_all(RunState::Paused, now, commands);
            }
            Request::Interrupt => self.stop_all(RunState::Interrupted, now, commands),
            Request::Cancel => self.stop_all(RunState::Cancelled, now, commands),
            Request::Resume if self.mode == RunState::Paused => {
                self.mode = RunState::Running;
                self.awaits_room = false;
                commands.push(Command::MoveRun(RunState::Running));
                commands.extend(std::mem::take(&mut self.uncommitted).into_iter().map(Command::Commit));
            }
            Request::CancelStep(step) => {
                match self.board.progress.get(step).map(|progress| &progress.phase) {
                    Some(Phase::Live { .. }) => self.stop(step, Stopping::Cancel, now, commands),
                    Some(Phase::Waiting | Phase::Backoff { .. }) => {
                        self.move_step(step, Phase::Cancelled, StepMove::Cancelled, commands);
                    }
                    _ => {}
                }
            }
            // A run that is being stopped takes no step up again: another `apply` does.
            Request::Retry(which) if matches!(self.mode, RunState::Running | RunState::Paused) => {
                self.retry(which, commands);
            }
            Request::Pause | Request::Resume | Request::Retry(_) => {}
        }
    }

    fn stop_all(&mut self, mode: RunState, now: i64, commands: &mut Vec<Command>) {
        if matches!(self.mode, RunState::Cancelled | RunState::Interrupted) {
            return;
        }
        self.mode = mode;
        if mode == RunState::Paused {
            commands.push(Command::MoveRun(mode));
        }
        if mode != RunState::Paused {
            self.awaits_room = false;
            // Whole outputs stay where they are: another `apply` moves them into the store.
            for step in std::mem::take(&mut self.uncommitted) {
                self.move_step(step, Phase::Waiting, StepMove::Waiting, commands);
            }
        }
        let why = if mode == RunState::Cancelled { Stopping::Cancel } else { Stopping::Pause };
        for step in 0..self.board.nodes.len() {
            match self.board.progress[step].phase {
                Phase::Live { .. } => self.stop(step, why, now, commands),
                Phase::Waiting | Phase::Backoff { .. } if mode == RunState::Cancelled => {
                    self.move_step(step, Phase::Cancelled, StepMove::Cancelled, commands);
                }
                _ => {}
            }
        }
    }

    fn stop(&mut self, step: usize, why: Stopping, now: i64, commands: &mut Vec<Command>) {
        let forced = self.board.progress[step].stopping.is_some_and(|(_, _, forced)| forced);
        let asked = self.board.progress[step].stopping.map_or(now, |(_, asked, _)| asked);
        self.board.progress[step].stopping = Some((why, asked, forced));
        commands.push(Command::Stop { step, force: false });
    }

    /// A stop that was asked for while the attempt was on its way to the executor.
    fn stop_if_unwanted(&mut self, step: usize, now: i64, commands: &mut Vec<Command>) {
        match self.mode {
            RunState::Paused | RunState::Interrupted => self.stop(step, Stopping::Pause, now, commands),
            RunState::Cancelled => self.stop(step, Stopping::Cancel, now, commands),
            _ => {}
        }
    }

    fn retry(&mut self, which: Option<usize>, commands: &mut Vec<Command>) {
        for step in 0..self.board.nodes.len() {
            let wanted = which.is_none_or(|wanted| wanted == step);
            if wanted && matches!(self.board.progress[step].phase, Phase::Failed | Phase::Cancelled) {
                self.board.progress[step].failures = 0;
                self.board.progress[step].halvings = 0;
                self.board.progress[step].returns = 0;
                self.move_step(step, Phase::Waiting, StepMove::Waiting, commands);
                self.board.touched.insert(step);
            }
        }
        // In the order of the plan: what one sets free may set the next one free. What still stands behind a lost one is looked at again.
        let mut behind = std::collections::BTreeSet::new();
        while let Some(step) = self.board.touched.pop_first() {
            if self.board.missing[step].1 > 0 {
                behind.insert(step);
            } else if self.board.progress[step].phase == Phase::Blocked {
                self.move_step(step, Phase::Waiting, StepMove::Waiting, commands);
            }
        }
        self.board.touched = behind;
    }

    fn start_ready(&mut self, now: i64, commands: &mut Vec<Command>) {
        while let Some(step) = self.board.touched.pop_first() {
            let is_open = self.board.progress[step].phase.group() == Group::Open;
            if let (true, Some(by)) = (is_open, self.board.blocker(step)) {
                let by = self.board.nodes[by].name.clone();
                self.move_step(step, Phase::Blocked, StepMove::Blocked { by }, commands);
            }
        }
        while let Some((until, step)) = self.board.backoffs.first().copied()
            && now >= until
        {
            self.board.set_phase(step, Phase::Waiting);
        }
        if self.mode != RunState::Running {
            return;
        }
        let mut after = None;
        // Each step takes a core at least: without one nothing fits.
        while self.board.used.cores < self.slots.cores.max(1) {
            let next = match after {
                None => self.board.ready.first().copied(),
                Some(rank) => {
                    self.board.ready.range((Bound::Excluded(rank), Bound::Unbounded)).next().copied()
                }
            };
            let Some(rank) = next else { break };
            after = Some(rank);
            let step = rank.2;
            let slots = self.slots.cut(self.wanted[step]);
            if self.slots.hold(self.board.used, slots) {
                self.board.nodes[step].slots = slots;
                self.board.set_phase(step, Phase::Starting);
                self.board.progress[step].stopping = None;
                commands.push(Command::Start(step));
            }
        }
    }

    /// Says that the run ended, once, when nothing is left to wait for.
    fn settle(&mut self, commands: &mut Vec<Command>) {
        let open = self.board.num_open > 0;
        let stopped = matches!(self.mode, RunState::Interrupted | RunState::Cancelled);
        if self.ended || self.board.num_busy > 0 || (open && !stopped) {
            return;
        }
        if open && self.mode == RunState::Cancelled {
            // What was on its way when the run was cancelled, and failed after that.
            for step in 0..self.board.nodes.len() {
                if self.board.progress[step].phase.group() == Group::Open {
                    self.move_step(step, Phase::Cancelled, StepMove::Cancelled, commands);
                }
            }
        }
        let any = |phase: &Phase| self.board.progress.iter().any(|progress| progress.phase == *phase);
        self.mode = match self.mode {
            RunState::Interrupted if open => RunState::Interrupted,
            _ if any(&Phase::Failed) => RunState::Failed,
            _ if any(&Phase::Cancelled) => RunState::Cancelled,
            _ => RunState::Succeeded,
        };
        self.ended = true;
        commands.push(Command::MoveRun(self.mode));
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
