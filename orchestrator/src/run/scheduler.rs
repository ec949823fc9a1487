//! The scheduler: a pure state machine. Time and everything that happened come in as arguments, what is to be done comes out as commands.
//!
//! It promises: a step starts only after all that it needs is done; no slot is used twice; an attempt is followed by another only after
//! it ended or is proven dead (`Unknown` keeps its slots); what a stale attempt says changes nothing; every run comes to an end.

use std::cmp::Reverse;

use cupola_specs::contract::{ErrorClass, Failure};

use super::backoff::delay_millis;
use super::{Command, End, Happening, Node, Request, Slots};
use crate::state::{RunState, StepMove};

/// How long a worker may take to write a checkpoint and stop before it is ended.
const GRACE_MILLIS: i64 = 60_000;

#[derive(Debug, Clone, PartialEq)]
enum Phase {
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
enum Stopping {
    Pause,
    Cancel,
    Timeout,
}

#[derive(Debug, Clone)]
struct Progress {
    phase: Phase,
    failures: u32,
    stopping: Option<(Stopping, i64, bool)>,
}

/// The state machine of one run.
#[derive(Debug, Clone)]
pub struct Scheduler {
    nodes: Vec<Node>,
    progress: Vec<Progress>,
    slots: Slots,
    mode: RunState,
    ended: bool,
}

impl Scheduler {
    /// A scheduler of these steps, which stand in topological order. No step asks for more slots than there are: what is over is cut.
    pub fn new(mut nodes: Vec<Node>, slots: Slots) -> Self {
        for node in &mut nodes {
            node.cores = node.cores.clamp(1, slots.cores.max(1));
            node.devices = node.devices.min(slots.devices);
        }
        let progress = nodes
            .iter()
            .map(|node| Progress {
                phase: if node.done { Phase::Done } else { Phase::Waiting },
                failures: 0,
                stopping: None,
            })
            .collect();
        Self { nodes, progress, slots, mode: RunState::Running, ended: false }
    }

    /// How the run stands.
    pub fn mode(&self) -> RunState {
        self.mode
    }

    /// Whether nothing more will be asked for.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Cores and devices in use.
    pub fn used(&self) -> Slots {
        let mut used = Slots { cores: 0, devices: 0 };
        for (node, progress) in self.nodes.iter().zip(&self.progress) {
            if matches!(progress.phase, Phase::Starting | Phase::Live { .. } | Phase::Committing) {
                used.cores += node.cores;
                used.devices += node.devices;
            }
        }
        used
    }

    /// The token of the step's live attempt.
    pub fn live_token(&self, step: usize) -> Option<&str> {
        match &self.progress.get(step)?.phase {
            Phase::Live { token, .. } => Some(token),
            _ => None,
        }
    }

    /// Takes in what happened and says what is to be done.
    pub fn handle(&mut self, now: i64, happening: Happening) -> Vec<Command> {
        let mut commands = Vec::new();
        match happening {
            Happening::Tick => self.tick(now, &mut commands),
            Happening::Adopted { step, token } => {
                if matches!(self.progress[step].phase, Phase::Waiting | Phase::Backoff { .. }) {
                    self.progress[step].phase = Phase::Live { token, since: now, visible: true };
                }
            }
            Happening::Submitted { step, token } => {
                if self.progress[step].phase == Phase::Starting {
                    self.progress[step].phase = Phase::Live { token, since: now, visible: true };
                    self.stop_if_unwanted(step, now, &mut commands);
                }
            }
            Happening::Seen { step, token, visible } => {
                if let Phase::Live { token: live, visible: seen, .. } = &mut self.progress[step].phase
                    && *live == token
                {
                    *seen = visible;
                }
            }
            Happening::Ended { step, token, end } => self.end(step, &token, end, now, &mut commands),
            Happening::Committed { step } => {
                if matches!(self.progress[step].phase, Phase::Committing | Phase::Starting) {
                    self.progress[step].phase = Phase::Done;
                }
            }
            Happening::CommitFailed { step, failure } => {
                if self.progress[step].phase == Phase::Committing {
                    self.fail(step, failure, (false, None), now, &mut commands);
                }
            }
            Happening::Asked(request) => self.ask(request, now, &mut commands),
        }
        self.start_ready(now, &mut commands);
        self.settle(&mut commands);
        commands
    }

    fn tick(&mut self, now: i64, commands: &mut Vec<Command>) {
        for step in 0..self.nodes.len() {
            let timeout = self.nodes[step].timeout_millis;
            let progress = &mut self.progress[step];
            if let Phase::Backoff { until } = progress.phase
                && now >= until
            {
                progress.phase = Phase::Waiting;
            }
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
        let stopping = self.progress[step].stopping.take().map(|(why, _, _)| why);
        match end {
            End::Finished => {
                self.progress[step].phase = Phase::Committing;
                commands.push(Command::Commit(step));
            }
            End::Failed { failure, advanced } => {
                self.fail(step, failure, (advanced, stopping), now, commands);
            }
        }
    }

    fn fail(
        &mut self,
        step: usize,
        failure: Failure,
        (advanced, stopping): (bool, Option<Stopping>),
        now: i64,
        commands: &mut Vec<Command>,
    ) {
        match stopping {
            Some(Stopping::Pause) => {
                self.move_step(step, Phase::Waiting, StepMove::Waiting, commands);
                return;
            }
            Some(Stopping::Cancel) => {
                self.move_step(step, Phase::Cancelled, StepMove::Cancelled, commands);
                return;
            }
            Some(Stopping::Timeout) | None => {}
        }
        let failure = if stopping == Some(Stopping::Timeout) { self.timed_out(step) } else { failure };
        let progress = &mut self.progress[step];
        progress.failures = if advanced { 1 } else { progress.failures + 1 };
        if failure.class == ErrorClass::Transient && progress.failures <= self.nodes[step].retries {
            let until = now + delay_millis(&self.nodes[step].fingerprint, progress.failures);
            self.move_step(
                step,
                Phase::Backoff { until },
                StepMove::Backoff { until_millis: until },
                commands,
            );
        } else {
            self.move_step(step, Phase::Failed, StepMove::Failed { failure }, commands);
        }
    }

    fn timed_out(&self, step: usize) -> Failure {
        Failure {
            class: ErrorClass::Transient,
            code: "timeout".to_owned(),
            message: format!("the attempt took longer than {} s", self.nodes[step].timeout_millis / 1000),
            hint: "raise the job's `timeout`".to_owned(),
        }
    }

    fn move_step(&mut self, step: usize, phase: Phase, to: StepMove, commands: &mut Vec<Command>) {
        self.progress[step].phase = phase;
        commands.push(Command::Move { step, to });
    }

    fn ask(&mut self, request: Request, now: i64, commands: &mut Vec<Command>) {
        match request {
            Request::Pause if self.mode == RunState::Running => {
                self.stop_all(RunState::Paused, now, commands);
            }
            Request::Interrupt => self.stop_all(RunState::Interrupted, now, commands),
            Request::Cancel => self.stop_all(RunState::Cancelled, now, commands),
            Request::Resume if self.mode == RunState::Paused => {
                self.mode = RunState::Running;
                commands.push(Command::MoveRun(RunState::Running));
            }
            Request::CancelStep(step) => match self.progress.get(step).map(|progress| &progress.phase) {
                Some(Phase::Live { .. }) => self.stop(step, Stopping::Cancel, now, commands),
                Some(Phase::Waiting | Phase::Backoff { .. }) => {
                    self.move_step(step, Phase::Cancelled, StepMove::Cancelled, commands);
                }
                _ => {}
            },
            Request::Retry(which) => self.retry(which, commands),
            Request::Pause | Request::Resume => {}
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
        let why = if mode == RunState::Cancelled { Stopping::Cancel } else { Stopping::Pause };
        for step in 0..self.nodes.len() {
            match self.progress[step].phase {
                Phase::Live { .. } => self.stop(step, why, now, commands),
                Phase::Waiting | Phase::Backoff { .. } if mode == RunState::Cancelled => {
                    self.move_step(step, Phase::Cancelled, StepMove::Cancelled, commands);
                }
                _ => {}
            }
        }
    }

    fn stop(&mut self, step: usize, why: Stopping, now: i64, commands: &mut Vec<Command>) {
        let forced = self.progress[step].stopping.is_some_and(|(_, _, forced)| forced);
        let asked = self.progress[step].stopping.map_or(now, |(_, asked, _)| asked);
        self.progress[step].stopping = Some((why, asked, forced));
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
        for step in 0..self.nodes.len() {
            let wanted = which.is_none_or(|wanted| wanted == step);
            if wanted && matches!(self.progress[step].phase, Phase::Failed | Phase::Cancelled) {
                self.progress[step].failures = 0;
                self.move_step(step, Phase::Waiting, StepMove::Waiting, commands);
            }
        }
        for step in 0..self.nodes.len() {
            let blocker = self.blocker(step);
            if self.progress[step].phase == Phase::Blocked && blocker.is_none() {
                self.move_step(step, Phase::Waiting, StepMove::Waiting, commands);
            }
        }
    }

    /// A step that this one needs and that will not be done.
    fn blocker(&self, step: usize) -> Option<usize> {
        let lost = |need: &usize| {
            matches!(self.progress[*need].phase, Phase::Failed | Phase::Blocked | Phase::Cancelled)
        };
        self.nodes[step].needs.iter().copied().find(lost)
    }

    fn start_ready(&mut self, now: i64, commands: &mut Vec<Command>) {
        for step in 0..self.nodes.len() {
            let waits = matches!(self.progress[step].phase, Phase::Waiting | Phase::Backoff { .. });
            if let (true, Some(by)) = (waits, self.blocker(step)) {
                self.move_step(
                    step,
                    Phase::Blocked,
                    StepMove::Blocked { by: self.nodes[by].name.clone() },
                    commands,
                );
            }
        }
        if self.mode != RunState::Running {
            return;
        }
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        order.sort_by_key(|step| {
            let node = &self.nodes[*step];
            (Reverse(node.priority), Reverse(node.work), *step)
        });
        let mut used = self.used();
        for step in order {
            let node = &self.nodes[step];
            let ready = match self.progress[step].phase {
                Phase::Waiting => true,
                Phase::Backoff { until } => now >= until,
                _ => false,
            };
            let fits = used.cores + node.cores <= self.slots.cores.max(1)
                && used.devices + node.devices <= self.slots.devices;
            if ready && fits && node.needs.iter().all(|need| self.progress[*need].phase == Phase::Done) {
                used.cores += node.cores;
                used.devices += node.devices;
                self.progress[step].phase = Phase::Starting;
                self.progress[step].stopping = None;
                commands.push(Command::Start(step));
            }
        }
    }

    /// Says that the run ended, once, when nothing is left to wait for.
    fn settle(&mut self, commands: &mut Vec<Command>) {
        let busy = self.progress.iter().any(|progress| {
            matches!(progress.phase, Phase::Starting | Phase::Live { .. } | Phase::Committing)
        });
        let open = self.progress.iter().any(|p| matches!(p.phase, Phase::Waiting | Phase::Backoff { .. }));
        let stopped = matches!(self.mode, RunState::Interrupted | RunState::Cancelled);
        if self.ended || busy || (open && !stopped) {
            return;
        }
        let any = |phase: &Phase| self.progress.iter().any(|progress| progress.phase == *phase);
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
