//! The engine: one tick brings the journal, the clock and the processes together.
//!
//! What a tick decides while another process holds the folder is kept and recorded once that ends: a slot that comes up during a run is
//! on time, whatever the run takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::alerts::alerts_of;
use super::firings::{apply_arguments, due, firing, left_behind, pause_record};
use super::{
    DaemonError, FolderLedger, Launcher, Ledger, OrderFiles, Surroundings, Ticket, WatchedSchedule,
    WatchedSpecs,
};
use crate::alert::AlertBook;
use crate::audit::act_of_api;
use crate::schedule::{FiringRecord, FiringState, ScheduleBook, ScheduleRecord, forget_firing};
use crate::state::{Fact, Projection, StateDir, StateError};

mod queue;

use queue::Queue;

/// Fires schedules and carries out orders. Time comes in as an argument, processes through [`Launcher`], the journal through [`Ledger`].
pub struct Engine<L> {
    dir: StateDir,
    ledger: Box<dyn Ledger>,
    specs: WatchedSpecs,
    launcher: L,
    running: BTreeMap<String, Ticket>,
    queue: Queue,
    stopped: BTreeSet<Ticket>,
    asked: BTreeMap<Ticket, Vec<String>>,
    unrecorded: ScheduleBook,
    /// What is told of firings that ended, recorded before their end is.
    untold: Vec<Fact>,
}

impl<L: Launcher> Engine<L> {
    /// An engine that has started nothing.
    pub fn new(dir: &StateDir, specs: WatchedSpecs, launcher: L) -> Self {
        Self::over(dir, Box::new(FolderLedger::new(dir)), specs, launcher)
    }

    /// An engine over a ledger that need not be the folder's.
    pub fn over(dir: &StateDir, ledger: Box<dyn Ledger>, specs: WatchedSpecs, launcher: L) -> Self {
        Self {
            dir: dir.clone(),
            ledger,
            specs,
            launcher,
            running: BTreeMap::new(),
            queue: Queue::new(OrderFiles::new(dir)),
            stopped: BTreeSet::new(),
            asked: BTreeMap::new(),
            unrecorded: ScheduleBook::default(),
            untold: Vec::new(),
        }
    }

    /// The schedules that it watches.
    pub fn schedules(&self) -> &[WatchedSchedule] {
        self.specs.schedules()
    }

    /// Reads specs that changed or are of new runs; gives what is wrong with them, and with the secrets that they name, as lines.
    pub fn refresh(&mut self) -> Result<Vec<String>, DaemonError> {
        let projection = self.ledger.projection()?;
        let before = self.specs.hooks();
        let mut problems = self.specs.refresh(&projection);
        problems.extend(self.specs.hook_warnings(&before));
        Ok(problems)
    }

    /// Does what is due at `now_millis`. Where another process holds the folder, what is decided is recorded and started later.
    pub fn tick(&mut self, now_millis: i64) -> Result<(), DaemonError> {
        self.end_order()?;
        let projection = self.ledger.projection()?;
        let mut book = self.book(&projection);
        for ended in self.ended(&book, &projection)? {
            self.tell(&ended, now_millis)?;
            self.decide(&mut book, ended);
        }
        for at in 0..self.specs.schedules().len() {
            self.look_at(at, &mut book, now_millis);
        }
        self.stop_cancelled(&book);
        if self.flush(&book, now_millis)? {
            self.start_next(&book, &projection, now_millis)?;
        }
        Ok(())
    }

    /// Starts `cupola` with these arguments, for the control API.
    pub fn launch(&mut self, arguments: Vec<String>) -> Result<Ticket, DaemonError> {
        self.launch_for("api", arguments)
    }

    /// Starts `cupola` with these arguments. `whom` goes into the audit log: `api ADDRESS`, `schedule NAME`.
    pub fn launch_for(&mut self, whom: &str, arguments: Vec<String>) -> Result<Ticket, DaemonError> {
        let mut full = vec![format!("--state={}", self.dir.root().display()), format!("--via={whom}")];
        full.extend(arguments);
        let log = self.log();
        let around = Surroundings { folder: None, environment: &BTreeMap::new(), output: &log, errors: &log };
        let ticket = self.launcher.start(&full, &around).map_err(DaemonError::io(&log))?;
        self.asked.insert(ticket, full);
        Ok(ticket)
    }

    /// The exit code of what [`Engine::launch`] started, once it ended.
    pub fn exit_code(&mut self, ticket: Ticket) -> Result<Option<i32>, DaemonError> {
        let log = self.log();
        let code = self.launcher.ended(ticket).map_err(DaemonError::io(&log))?;
        if code.is_some() {
            self.asked.remove(&ticket);
        }
        Ok(code)
    }

    /// Records that a schedule is paused or goes on; false where another process holds the folder.
    pub fn set_paused(&mut self, id: &str, paused: bool, now_millis: i64) -> Result<bool, DaemonError> {
        let projection = self.ledger.projection()?;
        let spec = self.specs.schedules().iter().find(|known| known.id == id).map(|known| known.spec.clone());
        let book = self.book(&projection);
        let record = pause_record(&book, id, spec.unwrap_or_default(), paused, now_millis);
        let verb = if paused { "schedule pause" } else { "schedule resume" };
        Ok(self.ledger.record(vec![acted(verb, id), record.fact(id)?])?)
    }

    /// Queues a firing by hand; false where another process holds the folder.
    pub fn fire(&mut self, id: &str, now_millis: i64) -> Result<bool, DaemonError> {
        let firing = firing(id, now_millis, now_millis, FiringState::Queued, "fired by hand", true);
        Ok(self.ledger.record(vec![acted("schedule fire", id), firing.fact()?])?)
    }

    /// The state as it is now.
    pub fn projection(&mut self) -> Result<Arc<Projection>, StateError> {
        self.ledger.projection()
    }

    /// Records facts of another room; false while a process of ours runs, which needs the folder, or while another process holds it.
    pub fn note(&mut self, facts: Vec<Fact>) -> Result<bool, StateError> {
        if self.is_busy() {
            return Ok(false);
        }
        self.ledger.record(facts)
    }

    /// What the journal says of schedules, and what was decided and could not be recorded yet.
    fn book(&self, projection: &Projection) -> ScheduleBook {
        let mut book = ScheduleBook::of(projection);
        for (id, record) in &self.unrecorded.schedules {
            // Somebody else may have recorded it since, paused perhaps: only where it starts is ours to say.
            let known = book.schedules.entry(id.clone()).or_insert_with(|| record.clone());
            known.since_millis = known.since_millis.min(record.since_millis);
        }
        book.firings.extend(self.unrecorded.firings.clone());
        book
    }

    /// Takes down what is told of a firing that ended. The state is read again: its run may have ended after this tick began.
    fn tell(&mut self, ended: &FiringRecord, now_millis: i64) -> Result<(), DaemonError> {
        let Some(watched) = self.specs.schedules().iter().find(|known| known.id == ended.schedule) else {
            return Ok(());
        };
        let projection = self.ledger.projection()?;
        self.untold.extend(alerts_of(ended, watched, &projection, now_millis));
        Ok(())
    }

    /// Takes a decision down, to be recorded at the end of the tick or later.
    fn decide(&mut self, book: &mut ScheduleBook, firing: FiringRecord) {
        self.unrecorded.take(firing.clone());
        book.take(firing);
    }

    /// What is due of one schedule.
    fn look_at(&mut self, at: usize, book: &mut ScheduleBook, now_millis: i64) {
        let Some(watched) = self.specs.schedules().get(at) else { return };
        let id = watched.id.clone();
        let known = book.schedules.get(&id).cloned();
        // A clock that was set back to before the schedule was first seen makes that the beginning.
        if known.as_ref().is_none_or(|record| record.since_millis > now_millis) {
            let paused = known.is_some_and(|record| record.paused);
            let record = ScheduleRecord { spec: watched.spec.clone(), paused, since_millis: now_millis };
            self.unrecorded.schedules.insert(id.clone(), record.clone());
            book.schedules.insert(id, record);
            return;
        }
        if known.is_some_and(|record| record.paused) {
            return;
        }
        for firing in due(watched, book, now_millis) {
            self.decide(book, firing);
        }
    }

    /// Asks what is cancelled to stop, once: a second time would leave its workers running on their own.
    fn stop_cancelled(&mut self, book: &ScheduleBook) {
        for (key, ticket) in &self.running {
            let is_cancelled = book.firings.get(key).is_some_and(|firing| firing.is_cancelled);
            if is_cancelled && self.stopped.insert(*ticket) {
                self.launcher.stop(*ticket);
            }
        }
    }

    /// Firings whose process ended, and firings that a daemon before this one left behind.
    fn ended(
        &mut self,
        book: &ScheduleBook,
        projection: &Projection,
    ) -> Result<Vec<FiringRecord>, DaemonError> {
        let mut all = Vec::new();
        for (key, firing) in book.firings.iter().filter(|(_, firing)| firing.state == FiringState::Started) {
            let Some(ticket) = self.running.get(key).copied() else {
                // A process of a daemon before this one may be at work, or one that a user waits for.
                let is_users = firing.manual && firing.note.is_empty();
                if !is_users && self.ledger.holder().is_none() {
                    all.push(left_behind(firing, projection));
                }
                continue;
            };
            let log = self.log();
            let Some(code) = self.launcher.ended(ticket).map_err(DaemonError::io(&log))? else { continue };
            self.running.remove(key);
            self.stopped.remove(&ticket);
            self.asked.remove(&ticket);
            let mut now = firing.clone();
            now.exit_code = Some(code);
            now.run = firing.newer_run(projection).map(|run| run.id.clone());
            now.state = match code {
                0 => FiringState::Succeeded,
                _ if firing.is_cancelled => FiringState::Cancelled,
                // Somebody else took the folder just before it: its turn comes again.
                _ if now.run.is_none() && self.ledger.holder().is_some() => FiringState::Queued,
                _ => FiringState::Failed,
            };
            all.push(now);
        }
        Ok(all)
    }

    /// Records what was decided, and forgets firings that nobody needs; false where another process holds the folder.
    fn flush(&mut self, book: &ScheduleBook, now_millis: i64) -> Result<bool, DaemonError> {
        let mut facts = self.untold.clone();
        for id in self.unrecorded.schedules.keys() {
            // With what somebody else recorded meanwhile.
            if let Some(record) = book.schedules.get(id) {
                facts.push(record.fact(id)?);
            }
        }
        for firing in self.unrecorded.firings.values() {
            facts.push(firing.fact()?);
        }
        if facts.is_empty() {
            return Ok(true);
        }
        for watched in self.specs.schedules() {
            facts.extend(book.outdated(&watched.id, now_millis).into_iter().map(forget_firing));
        }
        if !self.untold.is_empty() {
            facts.extend(AlertBook::of(&*self.ledger.projection()?).forget_outdated(now_millis));
        }
        if !self.ledger.record(facts)? {
            return Ok(false);
        }
        self.unrecorded = ScheduleBook::default();
        self.untold.clear();
        Ok(true)
    }

    /// Whether a process of ours runs, or somebody holds the folder.
    fn is_busy(&self) -> bool {
        !self.running.is_empty() || self.queue.is_busy() || self.ledger.holder().is_some()
    }

    /// Starts the oldest of the queued firings and of the orders where nothing of ours runs and nobody holds the folder.
    fn start_next(
        &mut self,
        book: &ScheduleBook,
        projection: &Projection,
        now_millis: i64,
    ) -> Result<(), DaemonError> {
        if self.is_busy() {
            return Ok(());
        }
        let queued = book.firings.iter().filter(|(_, firing)| firing.state == FiringState::Queued);
        let oldest = queued.min_by_key(|(_, firing)| firing.slot_millis);
        let slot_millis = oldest.map(|(_, firing)| firing.slot_millis);
        let order = self.queue.next();
        if let Some(order) = order.filter(|order| slot_millis.is_none_or(|slot| order.placed_millis < slot)) {
            return self.start_order(&order);
        }
        let Some((key, firing)) = oldest else { return Ok(()) };
        let mut now = firing.clone();
        let Some(watched) = self.specs.schedules().iter().find(|known| known.id == firing.schedule) else {
            now.state = FiringState::Skipped;
            "its spec has no such schedule any more".clone_into(&mut now.note);
            return self.record(&now).map(|_| ());
        };
        let arguments = apply_arguments(watched);
        now.state = FiringState::Started;
        now.recorded_millis = now_millis;
        now.run_before = projection.latest_run(Some(now.spec_name())).map(|run| run.id.clone());
        if !self.record(&now)? {
            return Ok(());
        }
        match self.launch_for(&format!("schedule {}", now.schedule), arguments) {
            Ok(ticket) => {
                self.running.insert(key.clone(), ticket);
                Ok(())
            }
            Err(error) => {
                now.state = FiringState::Failed;
                now.note = format!("could not be started: {error}");
                self.tell(&now, now_millis)?;
                self.unrecorded.take(now);
                Err(error)
            }
        }
    }

    /// Records a firing; false where another process holds the folder.
    fn record(&mut self, firing: &FiringRecord) -> Result<bool, DaemonError> {
        let facts: Vec<Fact> = vec![firing.fact()?];
        Ok(self.ledger.record(facts)?)
    }

    fn log(&self) -> PathBuf {
        self.dir.root().join("daemon.log")
    }
}

/// What a client of the control API asked for.
fn acted(verb: &str, id: &str) -> Fact {
    Fact::Acted(Box::new(act_of_api("", verb, &[id.to_owned()])))
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod simulation;
