//! The engine: one tick brings the journal, the clock and the processes together.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{DaemonError, Launcher, Ticket, WatchedSchedule, WatchedSpecs};
use crate::schedule::{FiringRecord, FiringState, Order, ScheduleBook, ScheduleRecord, orders};
use crate::state::{Fact, Projection, State, StateDir, StateError, holder, read_state};

/// Fires schedules. Time comes in as an argument, processes through [`Launcher`].
pub struct Engine<L> {
    dir: StateDir,
    specs: WatchedSpecs,
    launcher: L,
    running: BTreeMap<String, Ticket>,
    asked: BTreeMap<Ticket, Vec<String>>,
}

impl<L: Launcher> Engine<L> {
    /// An engine that has started nothing.
    pub fn new(dir: &StateDir, specs: WatchedSpecs, launcher: L) -> Self {
        Self { dir: dir.clone(), specs, launcher, running: BTreeMap::new(), asked: BTreeMap::new() }
    }

    /// The schedules that it watches.
    pub fn schedules(&self) -> &[WatchedSchedule] {
        self.specs.schedules()
    }

    /// Reads specs again that changed; gives what is wrong with them as lines.
    pub fn refresh(&mut self) -> Vec<String> {
        self.specs.refresh()
    }

    /// Does what is due at `now_millis`. Where another process holds the folder, what needs the lock waits for the next tick.
    pub fn tick(&mut self, now_millis: i64) -> Result<(), DaemonError> {
        let projection = read_state(&self.dir)?;
        let book = ScheduleBook::of(&projection);
        let mut facts = self.ended(&book, &projection)?;
        for watched in self.specs.schedules() {
            facts.extend(due(watched, &book, now_millis, &mut |key| {
                if let Some(ticket) = self.running.get(key) {
                    self.launcher.stop(*ticket);
                }
            })?);
        }
        if !facts.is_empty() && !self.record(facts)? {
            return Ok(());
        }
        self.start_next(now_millis)
    }

    /// Starts `cupola` with these arguments, for the control API.
    pub fn launch(&mut self, arguments: Vec<String>) -> Result<Ticket, DaemonError> {
        let mut full = vec!["--state".to_owned(), self.dir.root().display().to_string()];
        full.extend(arguments);
        let log = self.log();
        let ticket = self.launcher.start(&full, &log).map_err(DaemonError::io(&log))?;
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
        let book = ScheduleBook::of(&read_state(&self.dir)?);
        let spec = self.specs.schedules().iter().find(|known| known.id == id).map(|known| known.spec.clone());
        let record = pause_record(&book, id, spec.unwrap_or_default(), paused, now_millis);
        self.record(vec![record.fact(id)?])
    }

    /// Queues a firing by hand; false where another process holds the folder.
    pub fn fire(&mut self, id: &str, now_millis: i64) -> Result<bool, DaemonError> {
        let firing = firing(id, now_millis, now_millis, FiringState::Queued, "fired by hand", true);
        self.record(vec![firing.fact()?])
    }

    /// Outcomes of firings whose process ended, and firings that a daemon before this one left behind.
    fn ended(&mut self, book: &ScheduleBook, projection: &Projection) -> Result<Vec<Fact>, DaemonError> {
        let mut facts = Vec::new();
        for (key, firing) in book.firings.iter().filter(|(_, firing)| firing.state == FiringState::Started) {
            let mut now = firing.clone();
            match self.running.get(key).copied() {
                None if firing.manual && firing.note.is_empty() => continue,
                None => now.state = FiringState::Queued,
                Some(ticket) => {
                    let log = self.log();
                    let Some(code) = self.launcher.ended(ticket).map_err(DaemonError::io(&log))? else {
                        continue;
                    };
                    now.state = if code == 0 { FiringState::Succeeded } else { FiringState::Failed };
                    now.exit_code = Some(code);
                    let spec = firing.schedule.split('.').next().unwrap_or_default();
                    now.run = projection.latest_run(Some(spec)).map(|run| run.id.clone());
                }
            }
            facts.push(now.fact()?);
        }
        Ok(facts)
    }

    /// Starts the oldest queued firing where nothing of ours runs and nobody holds the folder.
    fn start_next(&mut self, now_millis: i64) -> Result<(), DaemonError> {
        let book = ScheduleBook::of(&read_state(&self.dir)?);
        self.running.retain(|key, _| book.firings.get(key).is_some_and(|firing| firing.state.is_open()));
        if !self.running.is_empty() || holder(&self.dir).is_some() {
            return Ok(());
        }
        let queued = book.firings.iter().filter(|(_, firing)| firing.state == FiringState::Queued);
        let Some((key, firing)) = queued.min_by_key(|(_, firing)| firing.slot_millis) else { return Ok(()) };
        let mut now = firing.clone();
        let Some(watched) = self.specs.schedules().iter().find(|known| known.id == firing.schedule) else {
            now.state = FiringState::Skipped;
            "its spec has no such schedule any more".clone_into(&mut now.note);
            return self.record(vec![now.fact()?]).map(|_| ());
        };
        let arguments = apply_arguments(watched);
        now.state = FiringState::Started;
        now.recorded_millis = now_millis;
        if !self.record(vec![now.fact()?])? {
            return Ok(());
        }
        let ticket = self.launch(arguments)?;
        self.running.insert(key.clone(), ticket);
        Ok(())
    }

    /// Records facts; false where another process holds the folder.
    fn record(&self, facts: Vec<Fact>) -> Result<bool, DaemonError> {
        match State::open(&self.dir, "daemon") {
            Ok(mut state) => state.record(facts).map(|()| true).map_err(DaemonError::from),
            Err(StateError::Locked { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn log(&self) -> PathBuf {
        self.dir.root().join("daemon.log")
    }
}

/// What `apply` is asked for by a firing.
fn apply_arguments(watched: &WatchedSchedule) -> Vec<String> {
    let mut arguments = vec!["apply".to_owned(), watched.spec.display().to_string()];
    for job in &watched.schedule.jobs {
        arguments.extend(["--only".to_owned(), job.clone()]);
    }
    arguments
}

/// The record of a schedule that is paused, or goes on from now.
pub(crate) fn pause_record(
    book: &ScheduleBook,
    id: &str,
    spec: PathBuf,
    paused: bool,
    now_millis: i64,
) -> ScheduleRecord {
    let known = book.schedules.get(id).cloned();
    let mut record = known.unwrap_or(ScheduleRecord { spec, paused: false, since_millis: now_millis });
    if record.paused && !paused {
        record.since_millis = now_millis;
    }
    record.paused = paused;
    record
}

/// The record of a firing.
pub(crate) fn firing(
    id: &str,
    slot_millis: i64,
    now_millis: i64,
    state: FiringState,
    note: &str,
    manual: bool,
) -> FiringRecord {
    FiringRecord {
        schedule: id.to_owned(),
        slot_millis,
        recorded_millis: now_millis,
        manual,
        state,
        note: note.to_owned(),
        run: None,
        exit_code: None,
    }
}

/// The facts that a schedule's due slots lead to; `stop` is told the keys of firings that are replaced.
fn due(
    watched: &WatchedSchedule,
    book: &ScheduleBook,
    now_millis: i64,
    stop: &mut dyn FnMut(&str),
) -> Result<Vec<Fact>, DaemonError> {
    let id = &watched.id;
    let Some(handled) = book.handled_millis(id) else {
        let record = ScheduleRecord { spec: watched.spec.clone(), paused: false, since_millis: now_millis };
        return Ok(vec![record.fact(id)?]);
    };
    if book.schedules.get(id).is_some_and(|record| record.paused) {
        return Ok(Vec::new());
    }
    let mut facts = Vec::new();
    for order in orders(&watched.schedule, &watched.table, handled, now_millis, book.is_busy(id)) {
        let record = match &order {
            Order::Skip { slot_millis, note } => {
                firing(id, *slot_millis, now_millis, FiringState::Skipped, note, false)
            }
            Order::Fire { slot_millis, note, replaces } => {
                if *replaces {
                    book.firings_of(id).filter(|(_, old)| old.state.is_open()).for_each(|(key, _)| stop(key));
                }
                firing(id, *slot_millis, now_millis, FiringState::Queued, note, false)
            }
        };
        facts.push(record.fact()?);
    }
    Ok(facts)
}

#[cfg(test)]
mod tests;
