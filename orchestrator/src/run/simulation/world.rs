//! The world of a history: attempts, store and clocks, of which an orchestrator sees what its traits show.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use cupola_specs::artifact::Manifest;
use cupola_specs::contract::{
    CheckpointRecord, ErrorClass, Event, EventBody, Failure, JobFile, ShimResult, Started,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::executor::{AttemptRef, Executor, ExecutorError, Observation, WorkOrder};
use crate::run::{Clock, Slots};
use crate::store::{ArtifactStore, StoreError, StoredArtifact};

/// How an attempt will end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Finish,
    Fail(ErrorClass, &'static str),
    Killed,
    /// It dies and its shim with it; before that it may have finished.
    Lost {
        finished: bool,
    },
}

/// An attempt, as it is and not as it is seen.
#[derive(Debug)]
struct Attempt {
    token: String,
    fingerprint: String,
    slots: Slots,
    staging: PathBuf,
    fate: Fate,
    ends_at: i64,
    /// Until when nobody can see it.
    hidden_until: i64,
    events: Vec<Event>,
    ended: Option<Observation>,
}

/// A step, as the world knows it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) inputs: Vec<String>,
    pub(super) slots: Slots,
}

/// All that goes on outside an orchestrator.
#[derive(Debug)]
pub(super) struct Truth {
    pub(super) rng: StdRng,
    pub(super) now: i64,
    calendar: i64,
    begun: i64,
    pub(super) slots: Slots,
    pub(super) steps: BTreeMap<String, Known>,
    attempts: BTreeMap<PathBuf, Attempt>,
    claimed: BTreeSet<PathBuf>,
    store: BTreeMap<String, Manifest>,
    committing: Vec<(usize, PathBuf, Manifest)>,
    /// Effects that are left until the power fails; none where it does not.
    pub(super) effects_left: Option<u32>,
    /// Whether it is kind: nothing fails any more.
    pub(super) is_kind: bool,
    /// The first invariant that was broken.
    pub(super) broken: Option<String>,
    pub(super) num_attempts: u64,
}

impl Truth {
    pub(super) fn new(seed: u64, slots: Slots) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            now: 0,
            calendar: 1_700_000_000_000,
            begun: 0,
            slots,
            steps: BTreeMap::new(),
            attempts: BTreeMap::new(),
            claimed: BTreeSet::new(),
            store: BTreeMap::new(),
            committing: Vec::new(),
            effects_left: None,
            is_kind: false,
            broken: None,
            num_attempts: 0,
        }
    }

    fn breaks(&mut self, invariant: String) {
        self.broken.get_or_insert(invariant);
    }

    pub(super) fn has(&self, fingerprint: &str) -> bool {
        self.store.contains_key(fingerprint)
    }

    /// Lets time go by; what is to end in it ends.
    pub(super) fn pass(&mut self, millis: i64) {
        self.now += millis;
        let now = self.now;
        for attempt in self.attempts.values_mut().filter(|attempt| attempt.ended.is_none()) {
            if attempt.ends_at <= now {
                attempt.end();
            }
        }
        if !self.is_kind && self.rng.random_bool(0.02) {
            self.calendar += self.rng.random_range(-7_200_000..7_200_000);
        }
        if !self.is_kind && self.rng.random_bool(0.02) {
            let unseen = self.rng.random_range(0..40_000);
            let pick = self.rng.random_range(0..self.attempts.len().max(1));
            if let Some(attempt) = self.attempts.values_mut().nth(pick) {
                attempt.hidden_until = now + unseen;
            }
        }
    }

    /// A new orchestrator begins; what the one before left half done is done or not.
    pub(super) fn restart(&mut self) {
        self.begun = self.now;
        self.effects_left = None;
        for (_, staging, manifest) in std::mem::take(&mut self.committing) {
            if self.rng.random_bool(0.5) {
                self.put(&staging, &manifest);
            }
        }
    }

    /// Whether the power fails before or after the next effect.
    fn power(&mut self) -> Result<bool, ExecutorError> {
        match &mut self.effects_left {
            None => Ok(true),
            Some(0) if self.rng.random_bool(0.5) => Err(power_failed()),
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
        }
    }

    fn submit(&mut self, attempt: &AttemptRef, job: &JobFile) {
        if self.attempts.contains_key(&attempt.dir) || self.claimed.contains(&attempt.dir) {
            return;
        }
        let Some(known) = self.steps.get(&job.fingerprint).cloned() else { return };
        if let Some(input) = known.inputs.iter().find(|input| !self.store.contains_key(*input)) {
            self.breaks(format!("{} starts without its input {input}", job.step));
        }
        if self.store.contains_key(&job.fingerprint) {
            self.breaks(format!("{} starts after its commit", job.step));
        }
        let alive = |other: &&Attempt| other.ended.is_none();
        if self.attempts.values().filter(alive).any(|other| other.fingerprint == job.fingerprint) {
            self.breaks(format!("a second live attempt of {}", job.step));
        }
        let mut used = Slots::NONE;
        for other in self.attempts.values().filter(alive) {
            used += other.slots;
        }
        // A step that wants more than there is takes all.
        if used != Slots::NONE && !self.slots.hold(used, known.slots) {
            self.breaks(format!("{} starts where {used:?} of {:?} are taken", job.step, self.slots));
        }
        self.num_attempts += 1;
        let fate = match self.rng.random_range(0..100) {
            _ if self.is_kind => Fate::Finish,
            0..60 => Fate::Finish,
            60..63 => Fate::Fail(ErrorClass::User, "fate"),
            63..65 => Fate::Fail(ErrorClass::Bug, "fate"),
            65..73 => Fate::Fail(ErrorClass::Transient, "fate"),
            73..75 => Fate::Fail(ErrorClass::Transient, Failure::OUT_OF_MEMORY),
            75..77 => Fate::Fail(ErrorClass::Transient, Failure::WENT_BACK),
            77..80 => Fate::Fail(ErrorClass::Transient, Failure::STORAGE_FULL),
            80..90 => Fate::Killed,
            other => Fate::Lost { finished: other < 95 },
        };
        let ends_at = self.now + self.rng.random_range(0..20_000);
        let started = EventBody::Started { token: attempt.token.clone(), pid: 1, version: String::new() };
        let truth = Attempt {
            token: attempt.token.clone(),
            fingerprint: job.fingerprint.clone(),
            slots: known.slots,
            staging: job.staging.clone(),
            fate,
            ends_at,
            hidden_until: 0,
            events: vec![Event { at_millis: self.now, body: started }],
            ended: None,
        };
        self.attempts.insert(attempt.dir.clone(), truth);
    }

    fn observe(&mut self, attempt: &AttemptRef) -> Observation {
        let Some(truth) = self.attempts.get(&attempt.dir) else {
            self.claimed.insert(attempt.dir.clone());
            return Observation::Dead { reason: "it never started".to_owned(), ran: false };
        };
        if truth.hidden_until > self.now {
            return Observation::Unknown { reason: "out of sight".to_owned() };
        }
        match &truth.ended {
            Some(seen) => seen.clone(),
            None => Observation::Running(Started {
                shim_pid: 1,
                worker_pid: 1,
                start_ticks: 0,
                boot_id: String::new(),
                token: truth.token.clone(),
            }),
        }
    }

    fn cancel(&mut self, attempt: &AttemptRef, force: bool) {
        let obeys = force || self.rng.random_bool(0.7);
        let delay = if force { 0 } else { self.rng.random_range(0..3_000) };
        let now = self.now;
        if let Some(truth) =
            self.attempts.get_mut(&attempt.dir).filter(|truth| obeys && truth.ended.is_none())
        {
            truth.fate = Fate::Killed;
            truth.ends_at = now + delay;
        }
    }

    /// Moves a staged output into the store.
    fn put(&mut self, staging: &Path, manifest: &Manifest) {
        let maker = self.attempts.values().find(|attempt| attempt.staging == staging);
        let whole = maker.is_some_and(Attempt::has_finished);
        if !whole {
            self.breaks(format!("{} is committed from an attempt that did not finish", manifest.step));
        }
        if self.store.insert(manifest.fingerprint.clone(), manifest.clone()).is_some() {
            self.breaks(format!("{} is committed twice", manifest.step));
        }
    }
}

impl Attempt {
    fn has_finished(&self) -> bool {
        self.events.iter().any(|event| matches!(event.body, EventBody::Finished { .. }))
    }

    fn end(&mut self) {
        let mut say = |body| self.events.push(Event { at_millis: self.ends_at, body });
        let exited = |exit_code, signal| {
            Observation::Exited(ShimResult {
                token: self.token.clone(),
                exit_code,
                signal,
                peak_rss_bytes: 1,
                cpu_millis: 1,
                out_of_memory: false,
            })
        };
        let finished = EventBody::Finished { summary: serde_json::Map::new() };
        self.ended = Some(match self.fate {
            Fate::Finish => {
                say(finished);
                exited(Some(0), None)
            }
            Fate::Fail(class, code) => {
                let (code, message, hint) = (code.to_owned(), String::new(), String::new());
                say(EventBody::Failed(Failure { class, code, message, hint }));
                exited(Some(1), None)
            }
            Fate::Killed => {
                say(EventBody::Checkpoint(CheckpointRecord {
                    step: self.ends_at.unsigned_abs(),
                    data_cursor: 0,
                    seed: 0,
                    shards: Vec::new(),
                    size_bytes: 1,
                    best: false,
                }));
                exited(None, Some(9))
            }
            Fate::Lost { finished: last_word } => {
                if last_word {
                    say(finished);
                }
                Observation::Dead { reason: "it and its shim are gone".to_owned(), ran: true }
            }
        });
    }
}

fn power_failed() -> ExecutorError {
    ExecutorError::Io { path: PathBuf::from("world"), source: std::io::Error::other("the power failed") }
}

/// The world as the three traits show it.
#[derive(Debug, Clone)]
pub(super) struct Shown(pub(super) Rc<RefCell<Truth>>);

impl Shown {
    /// An effect that the power may fail before or after.
    fn effect(&self, carry_out: impl FnOnce(&mut Truth)) -> Result<(), ExecutorError> {
        let mut truth = self.0.borrow_mut();
        let goes_on = truth.power()?;
        carry_out(&mut truth);
        if goes_on { Ok(()) } else { Err(power_failed()) }
    }
}

impl Clock for Shown {
    fn now_millis(&mut self) -> i64 {
        let truth = self.0.borrow();
        truth.calendar + truth.now
    }

    fn steady_millis(&mut self) -> i64 {
        let truth = self.0.borrow();
        truth.now - truth.begun
    }
}

impl Executor for Shown {
    fn submit(&mut self, attempt: &AttemptRef, order: &WorkOrder<'_>) -> Result<(), ExecutorError> {
        self.effect(|truth| truth.submit(attempt, &order.job))
    }

    fn observe(&mut self, attempt: &AttemptRef) -> Result<Observation, ExecutorError> {
        Ok(self.0.borrow_mut().observe(attempt))
    }

    fn events(&mut self, attempt: &AttemptRef, offset: u64) -> Result<(Vec<Event>, u64), ExecutorError> {
        let truth = self.0.borrow();
        let events = truth.attempts.get(&attempt.dir).map_or(&[][..], |truth| &truth.events);
        Ok((events.get(offset as usize..).unwrap_or_default().to_vec(), events.len() as u64))
    }

    fn devices(&mut self, _attempt: &AttemptRef) -> Vec<u32> {
        Vec::new()
    }

    fn cancel(&mut self, attempt: &AttemptRef, force: bool) -> Result<(), ExecutorError> {
        self.effect(|truth| truth.cancel(attempt, force))
    }

    fn wait(&mut self, millis: u64) -> Vec<PathBuf> {
        self.0.borrow_mut().pass(millis as i64);
        Vec::new()
    }
}

impl ArtifactStore for Shown {
    fn contains(&self, _kind: &str, fingerprint: &str) -> bool {
        self.0.borrow().has(fingerprint)
    }

    fn get(&self, _kind: &str, fingerprint: &str) -> Result<Option<StoredArtifact>, StoreError> {
        let stored = self.0.borrow().store.get(fingerprint).cloned();
        Ok(stored.map(|manifest| StoredArtifact { path: PathBuf::from(fingerprint), manifest }))
    }

    fn is_staged(&self, staging: &Path) -> bool {
        let truth = self.0.borrow();
        let maker = truth.attempts.values().find(|attempt| attempt.staging == staging);
        maker.is_some_and(|attempt| !truth.store.contains_key(&attempt.fingerprint))
    }

    fn begin_commit(
        &mut self,
        ticket: usize,
        staging: PathBuf,
        manifest: Manifest,
        _awaited: bool,
    ) -> Result<(), StoreError> {
        let begin = |truth: &mut Truth| truth.committing.push((ticket, staging, manifest));
        self.effect(begin).map_err(|error| StoreError::Io {
            path: PathBuf::from("world"),
            source: std::io::Error::other(error.to_string()),
        })
    }

    fn take_commits(&mut self) -> Vec<(usize, Result<StoredArtifact, StoreError>)> {
        let mut truth = self.0.borrow_mut();
        let mut done = Vec::new();
        for (ticket, staging, manifest) in std::mem::take(&mut truth.committing) {
            if !truth.is_kind && truth.rng.random_bool(0.3) {
                truth.committing.push((ticket, staging, manifest));
            } else if !truth.is_kind && truth.rng.random_bool(0.05) {
                let source = truth.rng.random_bool(0.5).then_some(ErrorKind::StorageFull);
                let source = std::io::Error::from(source.unwrap_or(ErrorKind::Other));
                done.push((ticket, Err(StoreError::Io { path: staging, source })));
            } else {
                truth.put(&staging, &manifest);
                let path = PathBuf::from(&manifest.fingerprint);
                done.push((ticket, Ok(StoredArtifact { path, manifest })));
            }
        }
        done
    }

    fn discard(&mut self, _folder: PathBuf) {}

    fn bytes_below(&self, _folder: &Path) -> u64 {
        1 << 20
    }

    fn free_bytes(&self) -> Option<u64> {
        let mut truth = self.0.borrow_mut();
        Some(if truth.is_kind || truth.rng.random_bool(0.9) { 1 << 40 } else { 0 })
    }
}
