//! The driver: stands between the scheduler and the world.
//!
//! It goes in turns. What happened since the last one is gathered, the scheduler says what follows from it, all the facts of the turn are
//! flushed to the journal as one group, and only then what they intend is done. So however many attempts end at a time, a turn costs one
//! flush, and nothing is done that the journal does not know of.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use super::follow::Live;
use super::nodes::{empty_view, nodes_of};
use super::room::Wait;
use super::{Clock, Command, ControlRequest, Happening, Request, RunError, Scheduler, Signals, Slots};
use crate::executor::{AttemptRef, Executor};
use crate::plan::Plan;
use crate::promote::sync_served;
use crate::state::{EventFold, Fact, RunState, RunView, State, StateError, StepMove, WantedRoom};
use crate::store::ArtifactStore;

/// The longest wait of a turn: time-outs, back-off, requests and what workers say are seen this often.
const TURN_MILLIS: u64 = 100;
/// The longest wait while an attempt has not shown itself yet.
const START_MILLIS: u64 = 20;
/// How long is waited for room on a disk that takes no record.
const ROOM_MILLIS: u64 = 500;
const CONTROL_MILLIS: i64 = 50;
const SHOW_MILLIS: i64 = 250;
/// Showing takes no more than this share of the time.
const SHOW_SHARE: i64 = 20;

/// How driving a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriveEnd {
    /// Every step came to its end, or the run was stopped.
    Ended(RunState),
    /// The driver let go of live workers, which go on.
    Detached,
}

/// The world that a run is driven in.
#[derive(Debug)]
pub struct World<E, C, A> {
    /// Where attempts run.
    pub executor: E,
    /// What time it is.
    pub clock: C,
    /// Where their outputs go.
    pub artifacts: A,
}

/// What a driver is told while it drives, and what it tells.
pub struct Console<'a> {
    /// Signals of the terminal and the system.
    pub signals: &'a Signals,
    /// Takes the requests of other processes.
    pub requests: &'a mut dyn FnMut() -> Vec<ControlRequest>,
    /// Called with the run as it stands, and the time, a few times a second.
    pub show: &'a mut dyn FnMut(&RunView, i64),
}

/// What is done once the facts of a turn are flushed.
#[derive(Debug)]
pub(super) enum Act {
    /// Hand a new attempt to the executor.
    Submit { step: usize, attempt: AttemptRef },
    /// Stop the step's attempt.
    Stop { step: usize, force: bool },
    /// Move the step's output into the store.
    Commit { step: usize },
    /// Delete a folder.
    Discard(PathBuf),
}

/// Drives one run to its end.
pub struct Driver<'a, E, C, A> {
    pub(super) state: &'a mut State,
    pub(super) plan: &'a Plan,
    pub(super) run: String,
    pub(super) world: World<E, C, A>,
    pub(super) scheduler: Scheduler,
    pub(super) lives: BTreeMap<usize, Live>,
    pub(super) free_devices: Vec<u32>,
    pub(super) ended: BTreeMap<usize, String>,
    pub(super) folds: Vec<EventFold>,
    pub(super) queue: VecDeque<Happening>,
    pub(super) facts: Vec<Fact>,
    pub(super) acts: Vec<Act>,
    /// What steps that ran out of disk had written, bytes.
    pub(super) written: BTreeMap<usize, u64>,
    pub(super) wait: Option<Wait>,
    shown_millis: i64,
    control_millis: i64,
    heard: Signals,
    signals: u32,
}

impl<'a, E: Executor, C: Clock, A: ArtifactStore> Driver<'a, E, C, A> {
    /// A driver of a run whose steps are recorded. Attempts that were alive before are taken over.
    pub fn new(
        state: &'a mut State,
        plan: &'a Plan,
        run: &str,
        slots: Slots,
        world: World<E, C, A>,
    ) -> Result<Self, RunError> {
        let nodes = nodes_of(plan, state.projection().run(run));
        let mut driver = Self {
            plan,
            run: run.to_owned(),
            world,
            scheduler: Scheduler::new(nodes, slots),
            lives: BTreeMap::new(),
            free_devices: (0..slots.devices).rev().collect(),
            ended: BTreeMap::new(),
            folds: plan.steps.iter().map(|_| EventFold::default()).collect(),
            queue: VecDeque::new(),
            facts: Vec::new(),
            acts: Vec::new(),
            written: BTreeMap::new(),
            wait: None,
            shown_millis: i64::MIN,
            control_millis: i64::MIN,
            heard: Signals::default(),
            signals: 0,
            state,
        };
        driver.take_over();
        driver.settle()?;
        Ok(driver)
    }

    /// Drives the run to its end.
    pub fn drive(&mut self, console: &mut Console<'_>) -> Result<DriveEnd, RunError> {
        self.heard = console.signals.clone();
        self.signals = self.heard.count();
        let mut worth_a_look = Vec::new();
        loop {
            if self.turn(&worth_a_look, console)? {
                return Ok(DriveEnd::Detached);
            }
            self.show(console);
            if let Some(end) = self.end() {
                return Ok(end);
            }
            let starting = self.lives.values().any(|live| live.seen.is_none());
            worth_a_look = self.world.executor.wait(if starting { START_MILLIS } else { TURN_MILLIS });
        }
    }

    /// How the run ended; none while it goes on.
    pub(super) fn end(&self) -> Option<DriveEnd> {
        self.scheduler.is_ended().then(|| DriveEnd::Ended(self.scheduler.mode()))
    }

    /// Takes in what happened, for the next turn.
    pub(super) fn hear(&mut self, happening: Happening) {
        self.queue.push_back(happening);
    }

    /// Steps with a live attempt, and its token.
    pub(super) fn live_tokens(&self) -> Vec<(usize, String)> {
        self.lives.iter().map(|(step, live)| (*step, live.attempt.token.clone())).collect()
    }

    /// One turn; says whether the driver lets go of live workers.
    pub(super) fn turn(
        &mut self,
        worth_a_look: &[PathBuf],
        console: &mut Console<'_>,
    ) -> Result<bool, RunError> {
        self.look(worth_a_look)?;
        self.take_commits();
        self.look_for_room();
        let now = self.world.clock.steady_millis();
        if now.saturating_sub(self.control_millis) >= CONTROL_MILLIS {
            self.control_millis = now;
            for request in (console.requests)() {
                if request.change.is_some() {
                    self.change_served(&request)?;
                    continue;
                }
                let asked = super::control::requests_of(&request, &self.run, self.plan);
                if !asked.is_empty() {
                    self.facts.push(request.fact(&self.run));
                }
                self.queue.extend(asked.into_iter().map(Happening::Asked));
            }
        }
        if console.signals.count() > self.signals {
            self.signals += 1;
            if self.scheduler.mode() == RunState::Interrupted {
                self.facts.push(Fact::RunMoved { run: self.run.clone(), state: RunState::Interrupted });
                self.settle()?;
                return Ok(true);
            }
            self.queue.push_back(Happening::Asked(Request::Interrupt));
        }
        self.queue.push_back(Happening::Tick);
        self.settle()?;
        Ok(false)
    }

    /// Carries out a change of what is served: that need not wait for the end of a run.
    fn change_served(&mut self, request: &ControlRequest) -> Result<(), RunError> {
        let facts = request.promotion_facts(self.state.projection()).map_err(StateError::from)?;
        if facts.is_empty() {
            return Ok(());
        }
        self.state.record(facts)?;
        if let Err(error) = sync_served(self.state.projection()) {
            tracing::warn!("served.json could not be written: {error}; the next command does");
        }
        Ok(())
    }

    /// Feeds the scheduler, flushes what follows and does it, until nothing more follows.
    fn settle(&mut self) -> Result<(), RunError> {
        while !self.queue.is_empty() || !self.facts.is_empty() || !self.acts.is_empty() {
            while let Some(happening) = self.queue.pop_front() {
                let now = self.world.clock.steady_millis();
                for command in self.scheduler.handle(now, happening) {
                    self.intend(command)?;
                }
            }
            let facts = std::mem::take(&mut self.facts);
            self.record(&facts)?;
            // What starts comes first: the rest is not waited for.
            let (submits, others): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.acts).into_iter().partition(|act| matches!(act, Act::Submit { .. }));
            for act in submits.into_iter().chain(others) {
                self.act(act)?;
            }
        }
        Ok(())
    }

    /// Records facts, and waits where not even a record finds room: nothing follows from a fact that is not written down.
    fn record(&mut self, facts: &[Fact]) -> Result<(), RunError> {
        let mut is_told = false;
        loop {
            match self.state.record(facts.to_vec()) {
                Err(error) if error.is_storage_full() && self.heard.count() == self.signals => {
                    if !is_told {
                        tracing::warn!("{error}; waits until there is room on the disk");
                        is_told = true;
                    }
                    // What ends meanwhile is seen by the next look.
                    let _ = self.world.executor.wait(ROOM_MILLIS);
                }
                recorded => return Ok(recorded?),
            }
        }
    }

    /// Turns a command into the facts and acts of this turn.
    fn intend(&mut self, command: Command) -> Result<(), RunError> {
        match command {
            Command::Start(step) => self.intend_start(step),
            Command::Stop { step, force } => self.acts.push(Act::Stop { step, force }),
            Command::Commit(step) => self.intend_commit(step),
            Command::Move { step, to } => {
                let to = self.in_calendar_time(to);
                self.facts.push(Fact::StepMoved { run: self.run.clone(), step: self.name(step), to });
            }
            Command::MoveRun(state) => self.facts.push(Fact::RunMoved { run: self.run.clone(), state }),
            Command::AwaitRoom(step) => self.await_room(step)?,
        }
        Ok(())
    }

    fn act(&mut self, act: Act) -> Result<(), RunError> {
        match act {
            Act::Submit { step, attempt } => self.submit(step, attempt)?,
            Act::Stop { step, force } => {
                if let Some(live) = self.lives.get_mut(&step) {
                    live.asked_to_stop = true;
                    self.world.executor.cancel(&live.attempt, force)?;
                }
            }
            Act::Commit { step } => self.begin_commit(step)?,
            Act::Discard(folder) => self.world.artifacts.discard(folder),
        }
        Ok(())
    }

    /// A wait as people read it: the scheduler counts by the clock that can't be set.
    fn in_calendar_time(&mut self, to: StepMove) -> StepMove {
        match to {
            StepMove::Backoff { until_millis } => {
                let left = until_millis - self.world.clock.steady_millis();
                StepMove::Backoff { until_millis: self.world.clock.now_millis() + left }
            }
            other => other,
        }
    }

    pub(super) fn name(&self, step: usize) -> String {
        self.plan.steps[step].step.name.clone()
    }

    /// Shows the run a few times a second, and less often where making the picture takes long.
    fn show(&mut self, console: &mut Console<'_>) {
        let begin = self.world.clock.steady_millis();
        if !self.scheduler.is_ended() && begin < self.shown_millis {
            return;
        }
        let now = self.world.clock.now_millis();
        (console.show)(&self.view(), now);
        let end = self.world.clock.steady_millis();
        self.shown_millis = end + SHOW_MILLIS.max((end - begin) * SHOW_SHARE);
    }

    /// The run as it stands, with what its workers have said.
    pub fn view(&self) -> RunView {
        let projection = self.state.projection();
        let Some(row) = projection.run(&self.run) else { return empty_view(&self.run) };
        let mut run = RunView { waits_for: WantedRoom::of(projection, row), ..RunView::of(row) };
        for (index, planned) in self.plan.steps.iter().enumerate() {
            let Some(at) = row.position(&planned.step.name) else { continue };
            let (step, fold) = (&mut run.steps[at], &self.folds[index]);
            step.attempts = projection.attempts(&step.fingerprint).to_vec();
            step.peak_rss_bytes =
                step.attempts.iter().map(|attempt| attempt.peak_rss_bytes).max().unwrap_or(0);
            step.cpu_millis = step.attempts.iter().map(|attempt| attempt.cpu_millis).sum();
            step.progress.clone_from(&fold.progress);
            step.metrics.clone_from(&fold.metrics);
            step.warnings.clone_from(&fold.warnings);
            step.samples.clone_from(&fold.samples);
            step.checkpoint = projection.checkpoint(&step.fingerprint).cloned();
            step.artifact =
                projection.artifacts().get(&step.fingerprint).map(|artifact| artifact.path.clone());
        }
        run
    }
}
