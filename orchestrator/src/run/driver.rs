//! The driver: carries the scheduler's commands out, with every transition flushed before the next one rests on it.

use cupola_specs::contract::ShimResult;

use super::attempt::{AttemptIdentity, failure_of, prepare, staging_path};
use super::control::{requests_of, take_requests};
use super::nodes::{empty_view, nodes_of};
use super::{Clock, Command, End, Happening, Request, RunError, Scheduler, Signals, Slots};
use crate::executor::{AttemptRef, Executor, Observation};
use crate::plan::Plan;
use crate::state::{
    AttemptOutcome, EventFold, EventTail, Fact, RunState, RunView, State, StepMove, events_file,
};
use crate::store::Store;

const POLL_MILLIS: u64 = 40;
const SHOW_MILLIS: i64 = 250;
const SAVE_MILLIS: i64 = 2_000;

/// How driving a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriveEnd {
    /// Every step came to its end, or the run was stopped.
    Ended(RunState),
    /// The driver let go of live workers, which go on.
    Detached,
}

/// An attempt that is followed.
#[derive(Debug)]
struct Live {
    attempt: AttemptRef,
    tail: EventTail,
    seen: Option<bool>,
    asked_to_stop: bool,
    checkpoint_before: Option<u64>,
    saved_millis: i64,
}

/// Drives one run to its end.
pub struct Driver<'a, E, C> {
    pub(super) state: &'a mut State,
    pub(super) store: Store,
    pub(super) plan: &'a Plan,
    pub(super) run: String,
    pub(super) executor: E,
    pub(super) clock: C,
    pub(super) scheduler: Scheduler,
    lives: Vec<Option<Live>>,
    pub(super) ended: Vec<String>,
    pub(super) folds: Vec<EventFold>,
    pub(super) shown_millis: i64,
    pub(super) signals: u32,
}

impl<'a, E: Executor, C: Clock> Driver<'a, E, C> {
    /// A driver of a run whose steps are recorded. Attempts that were alive before are taken over.
    pub fn new(
        state: &'a mut State,
        plan: &'a Plan,
        run: &str,
        slots: Slots,
        (executor, clock): (E, C),
    ) -> Result<Self, RunError> {
        let store = Store::new(state.dir());
        let nodes = nodes_of(plan, state.projection().run(run));
        let mut driver = Self {
            store,
            plan,
            run: run.to_owned(),
            executor,
            clock,
            scheduler: Scheduler::new(nodes, slots),
            lives: plan.steps.iter().map(|_| None).collect(),
            ended: vec![String::new(); plan.steps.len()],
            folds: plan.steps.iter().map(|_| EventFold::default()).collect(),
            shown_millis: 0,
            signals: 0,
            state,
        };
        driver.take_over()?;
        Ok(driver)
    }

    /// Drives the run to its end; `show` is called a few times a second.
    pub fn drive(
        &mut self,
        signals: &Signals,
        show: &mut dyn FnMut(&RunView, i64),
    ) -> Result<DriveEnd, RunError> {
        self.signals = signals.count();
        self.happen(Happening::Tick)?;
        while !self.scheduler.is_ended() {
            self.observe_all()?;
            self.take_control()?;
            if signals.count() > self.signals {
                self.signals += 1;
                if self.scheduler.mode() == RunState::Interrupted {
                    self.state.record(vec![Fact::RunMoved {
                        run: self.run.clone(),
                        state: RunState::Interrupted,
                    }])?;
                    return Ok(DriveEnd::Detached);
                }
                self.happen(Happening::Asked(Request::Interrupt))?;
            }
            self.happen(Happening::Tick)?;
            let now = self.clock.now_millis();
            if now - self.shown_millis >= SHOW_MILLIS {
                self.shown_millis = now;
                show(&self.view(), now);
            }
            if !self.scheduler.is_ended() {
                self.clock.sleep(POLL_MILLIS);
            }
        }
        let now = self.clock.now_millis();
        show(&self.view(), now);
        Ok(DriveEnd::Ended(self.scheduler.mode()))
    }

    /// The run as it stands, with what its workers have said.
    pub fn view(&self) -> RunView {
        let projection = self.state.projection();
        let Some(row) = projection.run(&self.run) else { return empty_view(&self.run) };
        let mut run = RunView::of(row);
        for (index, planned) in self.plan.steps.iter().enumerate() {
            let Some(step) = run.steps.iter_mut().find(|step| step.name == planned.step.name) else {
                continue;
            };
            let fold = &self.folds[index];
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

    fn name(&self, step: usize) -> String {
        self.plan.steps[step].step.name.clone()
    }

    /// Commits what is in the store without a record, and follows attempts that may live or have ended unseen.
    fn take_over(&mut self) -> Result<(), RunError> {
        for step in 0..self.plan.steps.len() {
            let planned = &self.plan.steps[step];
            let fingerprint = planned.fingerprint.clone();
            let view = self.state.projection().run(&self.run).and_then(|run| run.step(&planned.step.name));
            if view.is_some_and(|view| view.state.is_done()) {
                continue;
            }
            let Some(last) = self.state.projection().attempts(&fingerprint).last().cloned() else { continue };
            let whole = staging_path(self.state.dir(), &fingerprint, &last.token).exists();
            if !(last.outcome.is_empty() || (last.outcome == "succeeded" && whole)) {
                continue;
            }
            std::fs::create_dir_all(&last.dir).map_err(crate::state::StateError::io(&last.dir))?;
            let fact = Fact::AttemptAdopted {
                run: self.run.clone(),
                step: self.name(step),
                token: last.token.clone(),
                number: last.number,
                dir: self.state.dir().below(&last.dir),
            };
            self.state.record(vec![fact])?;
            let token = last.token.clone();
            self.follow(step, AttemptRef { token: last.token, dir: last.dir });
            self.happen(Happening::Adopted { step, token })?;
        }
        Ok(())
    }

    fn follow(&mut self, step: usize, attempt: AttemptRef) {
        let checkpoint = self.state.projection().checkpoint(&self.plan.steps[step].fingerprint);
        self.lives[step] = Some(Live {
            tail: EventTail::new(events_file(&attempt.dir), 0),
            attempt,
            seen: None,
            asked_to_stop: false,
            checkpoint_before: checkpoint.map(|record| record.step),
            saved_millis: 0,
        });
    }

    /// Feeds the scheduler and carries out what it asks for, until it asks for nothing more.
    fn happen(&mut self, happening: Happening) -> Result<(), RunError> {
        let mut queue = vec![happening];
        while !queue.is_empty() {
            let happening = queue.remove(0);
            let now = self.clock.steady_millis();
            for command in self.scheduler.handle(now, happening) {
                queue.extend(self.carry_out(command)?);
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, command: Command) -> Result<Option<Happening>, RunError> {
        match command {
            Command::Start(step) => self.start(step).map(Some),
            Command::Stop { step, force } => {
                if let Some(live) = &mut self.lives[step] {
                    live.asked_to_stop = true;
                    self.executor.cancel(&live.attempt, force)?;
                }
                Ok(None)
            }
            Command::Commit(step) => self.commit(step).map(Some),
            Command::Move { step, to } => {
                let to = self.in_calendar_time(to);
                self.state.record(vec![Fact::StepMoved {
                    run: self.run.clone(),
                    step: self.name(step),
                    to,
                }])?;
                Ok(None)
            }
            Command::MoveRun(state) => {
                self.state.record(vec![Fact::RunMoved { run: self.run.clone(), state }])?;
                Ok(None)
            }
        }
    }

    /// A wait as people read it: the scheduler counts by the clock that can't be set.
    fn in_calendar_time(&mut self, to: StepMove) -> StepMove {
        match to {
            StepMove::Backoff { until_millis } => {
                let left = until_millis - self.clock.steady_millis();
                StepMove::Backoff { until_millis: self.clock.now_millis() + left }
            }
            other => other,
        }
    }

    fn start(&mut self, step: usize) -> Result<Happening, RunError> {
        let planned = &self.plan.steps[step];
        let fingerprint = &planned.fingerprint;
        if self.store.contains(planned.step.kind().artifact_kind(), fingerprint) {
            // A step of the same identity has made it since the plan was.
            let to = StepMove::Cached;
            self.state.record(vec![Fact::StepMoved {
                run: self.run.clone(),
                step: planned.step.name.clone(),
                to,
            }])?;
            return Ok(Happening::Committed { step });
        }
        let number =
            self.state.projection().attempts(fingerprint).iter().map(|a| a.number).max().unwrap_or(0) + 1;
        let token = format!("{}.{number}", self.state.epoch());
        let dir = self.state.dir().attempt(&self.run, &planned.step.name, fingerprint, number);
        let intent = Fact::AttemptIntended {
            run: self.run.clone(),
            step: planned.step.name.clone(),
            number,
            token: token.clone(),
            dir: self.state.dir().below(&dir),
        };
        self.state.record(vec![intent])?;
        let identity = AttemptIdentity { run: self.run.clone(), token: token.clone(), dir: dir.clone() };
        prepare(self.state.dir(), &self.store, self.plan, planned, &identity)?;
        let attempt = AttemptRef { token: token.clone(), dir };
        self.executor.submit(&attempt)?;
        self.follow(step, attempt);
        Ok(Happening::Submitted { step, token })
    }

    fn observe_all(&mut self) -> Result<(), RunError> {
        for step in 0..self.lives.len() {
            let Some(live) = &mut self.lives[step] else { continue };
            let attempt = live.attempt.clone();
            let seen = self.executor.observe(&attempt)?;
            // Events are read after the look: what a worker wrote before it ended is seen with its end.
            self.read_events(step)?;
            match seen {
                Observation::Starting => {}
                Observation::Running(started) => self.note_visible(step, true, started.worker_pid, "")?,
                Observation::Unknown { reason } => self.note_visible(step, false, 0, &reason)?,
                Observation::Exited(result) => self.note_end(step, Some(&result), "")?,
                Observation::Dead { reason } => self.note_end(step, None, &reason)?,
            }
        }
        Ok(())
    }

    fn note_visible(
        &mut self,
        step: usize,
        visible: bool,
        worker_pid: u32,
        reason: &str,
    ) -> Result<(), RunError> {
        let Some(live) = &mut self.lives[step] else { return Ok(()) };
        if live.seen == Some(visible) {
            return Ok(());
        }
        live.seen = Some(visible);
        let (run, token) = (self.run.clone(), live.attempt.token.clone());
        let step_name = self.plan.steps[step].step.name.clone();
        let fact = if visible {
            Fact::AttemptStarted { run, step: step_name, token: token.clone(), worker_pid }
        } else {
            Fact::AttemptUnknown { run, step: step_name, token: token.clone(), reason: reason.to_owned() }
        };
        self.state.record(vec![fact])?;
        self.happen(Happening::Seen { step, token, visible })
    }

    fn note_end(&mut self, step: usize, result: Option<&ShimResult>, lost: &str) -> Result<(), RunError> {
        let Some(live) = self.lives[step].take() else { return Ok(()) };
        let fingerprint = self.plan.steps[step].fingerprint.clone();
        let fold = &self.folds[step];
        let checkpoint = fold.checkpoint.as_ref().map(|record| record.step);
        let advanced = checkpoint > live.checkpoint_before;
        let (outcome, end) = if fold.finished.is_some() {
            (AttemptOutcome::Succeeded, End::Finished)
        } else {
            let failure = failure_of(fold, result, lost);
            let outcome = match (live.asked_to_stop, result) {
                (true, _) => AttemptOutcome::Cancelled,
                (false, None) => AttemptOutcome::Lost { reason: failure.message.clone() },
                (false, Some(_)) => AttemptOutcome::Failed { failure: failure.clone() },
            };
            (outcome, End::Failed { failure, advanced })
        };
        let token = live.attempt.token.clone();
        self.ended[step].clone_from(&token);
        self.state.record(vec![Fact::AttemptEnded {
            run: self.run.clone(),
            step: self.name(step),
            token: token.clone(),
            outcome: outcome.clone(),
            peak_rss_bytes: result.map_or(0, |result| result.peak_rss_bytes),
            cpu_millis: result.map_or(0, |result| result.cpu_millis),
        }])?;
        if outcome != AttemptOutcome::Succeeded {
            let staging = staging_path(self.state.dir(), &fingerprint, &token);
            // What a failed attempt left is of no use; `cupola gc` finds it if this fails.
            let _ = std::fs::remove_dir_all(staging);
        }
        self.happen(Happening::Ended { step, token, end })
    }

    fn read_events(&mut self, step: usize) -> Result<(), RunError> {
        let now = self.clock.now_millis();
        let Some(live) = &mut self.lives[step] else { return Ok(()) };
        let fold = &mut self.folds[step];
        let before = fold.checkpoint.clone();
        let events = live.tail.read()?;
        let news = !events.is_empty();
        for event in events {
            fold.push(event);
        }
        let fingerprint = &self.plan.steps[step].fingerprint;
        if let Some(record) = fold.checkpoint.clone().filter(|record| Some(record) != before.as_ref()) {
            self.state.record(vec![Fact::CheckpointSaved { fingerprint: fingerprint.clone(), record }])?;
        }
        if news && now - live.saved_millis > SAVE_MILLIS {
            live.saved_millis = now;
            let curves: Vec<_> =
                fold.metrics.iter().map(|(name, series)| (name.clone(), series.clone())).collect();
            self.state.save_events(&live.attempt.dir, live.tail.offset(), &curves)?;
        }
        Ok(())
    }

    fn take_control(&mut self) -> Result<(), RunError> {
        for request in take_requests(&self.state.dir().control()) {
            for asked in requests_of(&request, &self.run, self.plan) {
                self.happen(Happening::Asked(asked))?;
            }
        }
        Ok(())
    }
}
