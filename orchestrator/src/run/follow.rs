//! Following attempts: those of this driver, and those that an earlier one left.

use std::path::PathBuf;

use cupola_specs::contract::{ErrorClass, Failure, ShimResult};

use super::attempt::{Given, failure_of, staging_path, work_order};
use super::driver::Act;
use super::{Clock, Driver, End, Happening, RunError};
use crate::executor::{AttemptRef, Executor, ExecutorError, Observation};
use crate::state::{AttemptOutcome, AttemptView, Fact, StepMove};
use crate::store::ArtifactStore;

/// How often a live attempt is looked at without a sign that it ended.
const LOOK_MILLIS: i64 = 80;
/// How often, while it has not shown itself yet.
const START_MILLIS: i64 = 20;
const SAVE_MILLIS: i64 = 2_000;

/// An attempt that is followed.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) attempt: AttemptRef,
    pub(super) offset: u64,
    pub(super) seen: Option<bool>,
    pub(super) asked_to_stop: bool,
    pub(super) devices: Vec<u32>,
    adopted: bool,
    checkpoint_before: Option<u64>,
    looked_millis: i64,
    saved_millis: i64,
}

impl<E: Executor, C: Clock, A: ArtifactStore> Driver<'_, E, C, A> {
    /// Follows attempts that may live or have ended unseen, and commits what is whole.
    pub(super) fn take_over(&mut self) {
        let mut adopted = Vec::new();
        for step in 0..self.plan.steps.len() {
            let planned = &self.plan.steps[step];
            let fingerprint = planned.fingerprint.clone();
            let view = self.state.projection().run(&self.run).and_then(|run| run.step(&planned.step.name));
            if view.is_some_and(|view| view.state.is_done()) {
                continue;
            }
            let Some(last) = self.state.projection().attempts(&fingerprint).last().cloned() else { continue };
            let staging = staging_path(self.state.dir(), &fingerprint, &last.token);
            let whole = last.outcome == "succeeded" && self.world.artifacts.is_staged(&staging);
            // Of steps with one identity the first that is open follows the attempt.
            let followed = self.lives.values().any(|live| live.attempt.dir == last.dir);
            if followed || !(last.outcome.is_empty() || whole) {
                continue;
            }
            self.facts.push(Fact::AttemptAdopted {
                run: self.run.clone(),
                step: self.name(step),
                token: last.token.clone(),
                number: last.number,
                dir: self.state.dir().below(&last.dir),
            });
            let token = last.token.clone();
            let attempt = AttemptRef { token: last.token, dir: last.dir };
            let devices = self.world.executor.devices(&attempt);
            self.free_devices.retain(|device| !devices.contains(device));
            self.follow(step, attempt, devices, true);
            adopted.push((step, token));
        }
        self.queue.push_back(Happening::Adopted(adopted));
    }

    fn follow(&mut self, step: usize, attempt: AttemptRef, devices: Vec<u32>, adopted: bool) {
        // One of our own has just begun; one that was taken over may have ended long ago.
        let looked_millis = if adopted { i64::MIN } else { self.world.clock.steady_millis() };
        let checkpoint = self.state.projection().checkpoint(&self.plan.steps[step].fingerprint);
        let live = Live {
            attempt,
            offset: 0,
            seen: None,
            asked_to_stop: false,
            devices,
            adopted,
            checkpoint_before: checkpoint.map(|record| record.step),
            looked_millis,
            saved_millis: i64::MIN,
        };
        self.lives.insert(step, live);
    }

    /// Intends a new attempt, or finds that there is nothing left to do.
    pub(super) fn intend_start(&mut self, step: usize) {
        let planned = &self.plan.steps[step];
        let fingerprint = &planned.fingerprint;
        let name = planned.step.name.clone();
        if self.world.artifacts.contains(planned.step.kind().artifact_kind(), fingerprint) {
            // A step of the same identity has made it since the plan was.
            self.facts.push(Fact::StepMoved { run: self.run.clone(), step: name, to: StepMove::Cached });
            self.queue.push_back(Happening::Committed { step });
            return;
        }
        let number =
            self.state.projection().attempts(fingerprint).iter().map(|a| a.number).max().unwrap_or(0) + 1;
        let token = format!("{}.{number}", self.state.epoch());
        let dir = self.state.dir().attempt(&self.run, &name, fingerprint, number);
        self.facts.push(Fact::AttemptIntended {
            run: self.run.clone(),
            step: name,
            number,
            token: token.clone(),
            dir: self.state.dir().below(&dir),
        });
        self.acts.push(Act::Submit { step, attempt: AttemptRef { token, dir } });
    }

    /// Hands an attempt whose intent is flushed to the executor.
    pub(super) fn submit(&mut self, step: usize, attempt: AttemptRef) -> Result<(), RunError> {
        let planned = &self.plan.steps[step];
        let wanted = (planned.step.settings.devices as usize).min(self.free_devices.len());
        let devices = self.free_devices.split_off(self.free_devices.len() - wanted);
        let traceparent = self.state.traceparent(&self.run, &planned.step.name, &attempt.token);
        let micro_batch_halvings = self.halvings(step);
        let given = Given { devices: devices.clone(), micro_batch_halvings, traceparent };
        let order = work_order(self.state.dir(), self.plan, planned, (&self.run, &attempt), given);
        // The last of the room is for the records.
        let submitted = if self.is_disk_full() {
            Err(ExecutorError::io(&attempt.dir)(std::io::ErrorKind::StorageFull.into()))
        } else {
            self.world.executor.submit(&attempt, &order)
        };
        let token = attempt.token.clone();
        self.queue.push_back(Happening::Submitted { step, token: token.clone() });
        match submitted {
            Ok(()) => self.follow(step, attempt, devices, false),
            Err(error) if error.is_storage_full() => {
                self.free_devices.extend(devices);
                self.note_no_room(step, token, &error);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// An attempt whose folder found no room on the disk: it ended before it began.
    fn note_no_room(&mut self, step: usize, token: String, error: &ExecutorError) {
        let failure = Failure {
            class: ErrorClass::Transient,
            code: Failure::STORAGE_FULL.to_owned(),
            message: error.to_string(),
            hint: error.hint().to_owned(),
        };
        self.ended.insert(step, token.clone());
        self.facts.push(Fact::AttemptEnded {
            run: self.run.clone(),
            step: self.name(step),
            token: token.clone(),
            outcome: AttemptOutcome::Failed { failure: failure.clone() },
            peak_rss_bytes: 0,
            cpu_millis: 0,
        });
        self.queue.push_back(Happening::Ended { step, token, end: End::Failed { failure, advanced: false } });
    }

    /// How often attempts at this step ran out of memory, in whichever run: the next one makes do with that much less.
    fn halvings(&self, step: usize) -> u32 {
        let planned = &self.plan.steps[step];
        if planned.step.params.most_halvings() == 0 {
            return 0;
        }
        let attempts = self.state.projection().attempts(&planned.fingerprint);
        let of_memory =
            |attempt: &&AttemptView| attempt.error.as_ref().is_some_and(Failure::is_out_of_memory);
        attempts.iter().filter(of_memory).count() as u32
    }

    /// Looks at the live attempts that have a sign of news or were not looked at for a while.
    pub(super) fn look(&mut self, worth_a_look: &[PathBuf]) -> Result<(), RunError> {
        let now = self.world.clock.steady_millis();
        let due: Vec<usize> = self
            .lives
            .iter()
            .filter(|(_, live)| {
                let period = if live.seen.is_none() { START_MILLIS } else { LOOK_MILLIS };
                now.saturating_sub(live.looked_millis) >= period || worth_a_look.contains(&live.attempt.dir)
            })
            .map(|(step, _)| *step)
            .collect();
        for step in due {
            let Some(live) = self.lives.get_mut(&step) else { continue };
            live.looked_millis = now;
            let seen = match self.world.executor.observe(&live.attempt) {
                // A look may leave a file behind, and there is no room for it: another one will.
                Err(error) if error.is_storage_full() => continue,
                seen => seen?,
            };
            // Events are read after the look: what a worker wrote before it ended is seen with its end.
            self.read_events(step)?;
            match seen {
                Observation::Starting => {}
                Observation::Running(started) => self.note_visible(step, true, started.worker_pid, ""),
                Observation::Unknown { reason } => self.note_visible(step, false, 0, &reason),
                Observation::Exited(result) => self.note_end(step, Some(&result), ("", true)),
                Observation::Dead { reason, ran } => self.note_end(step, None, (&reason, ran)),
            }
        }
        Ok(())
    }

    fn note_visible(&mut self, step: usize, visible: bool, worker_pid: u32, reason: &str) {
        let Some(live) = self.lives.get_mut(&step) else { return };
        if live.seen == Some(visible) {
            return;
        }
        live.seen = Some(visible);
        let (run, token) = (self.run.clone(), live.attempt.token.clone());
        let name = self.name(step);
        self.facts.push(if visible {
            Fact::AttemptStarted { run, step: name, token: token.clone(), worker_pid }
        } else {
            Fact::AttemptUnknown { run, step: name, token: token.clone(), reason: reason.to_owned() }
        });
        self.queue.push_back(Happening::Seen { step, token, visible });
    }

    fn note_end(&mut self, step: usize, result: Option<&ShimResult>, (lost, ran): (&str, bool)) {
        let Some(live) = self.lives.remove(&step) else { return };
        let fingerprint = self.plan.steps[step].fingerprint.clone();
        let fold = &self.folds[step];
        let checkpoint = fold.checkpoint.as_ref().map(|record| record.step);
        let advanced = checkpoint > live.checkpoint_before;
        let (outcome, end) = if fold.finished.is_some() {
            (AttemptOutcome::Succeeded, End::Finished)
        } else {
            let is_disk_full = fold.failed.is_none() && self.is_disk_full();
            let failure = failure_of(fold, result, (lost, is_disk_full));
            let outcome = match (live.asked_to_stop, result) {
                (true, _) => AttemptOutcome::Cancelled,
                (false, None) => AttemptOutcome::Lost { reason: failure.message.clone() },
                (false, Some(_)) => AttemptOutcome::Failed { failure: failure.clone() },
            };
            // An orchestrator that died between its intent and the start is no failure of the step.
            let end =
                if live.adopted && !ran { End::NeverStarted } else { End::Failed { failure, advanced } };
            (outcome, end)
        };
        let token = live.attempt.token;
        let staging = staging_path(self.state.dir(), &fingerprint, &token);
        if matches!(&end, End::Failed { failure, .. } if failure.is_storage_full()) {
            self.written.insert(step, self.world.artifacts.bytes_below(&staging));
        }
        self.free_devices.extend(live.devices);
        self.ended.insert(step, token.clone());
        if outcome != AttemptOutcome::Succeeded {
            // What a failed attempt left is of no use.
            self.acts.push(Act::Discard(staging));
        }
        self.facts.push(Fact::AttemptEnded {
            run: self.run.clone(),
            step: self.name(step),
            token: token.clone(),
            outcome,
            peak_rss_bytes: result.map_or(0, |result| result.peak_rss_bytes),
            cpu_millis: result.map_or(0, |result| result.cpu_millis),
        });
        self.queue.push_back(Happening::Ended { step, token, end });
    }

    fn read_events(&mut self, step: usize) -> Result<(), RunError> {
        let now = self.world.clock.steady_millis();
        let Some(live) = self.lives.get_mut(&step) else { return Ok(()) };
        let (events, offset) = self.world.executor.events(&live.attempt, live.offset)?;
        let fold = &mut self.folds[step];
        let before = fold.checkpoint.clone();
        let news = offset > live.offset;
        live.offset = offset;
        for event in events {
            fold.push(event);
        }
        if let Some(record) = fold.checkpoint.clone().filter(|record| Some(record) != before.as_ref()) {
            let fingerprint = self.plan.steps[step].fingerprint.clone();
            self.facts.push(Fact::CheckpointSaved { fingerprint, record });
        }
        if news && now.saturating_sub(live.saved_millis) > SAVE_MILLIS {
            live.saved_millis = now;
            let curves: Vec<_> =
                fold.metrics.iter().map(|(name, series)| (name.clone(), series.clone())).collect();
            self.state.save_events(&live.attempt.dir, live.offset, &curves)?;
        }
        Ok(())
    }
}
