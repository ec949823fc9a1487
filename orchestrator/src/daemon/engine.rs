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
mod tests {
    use std::path::Path;

    use cupola_specs::spec::{CatchUp, Origin, Overlap, Schedule};

    use super::*;
    use crate::schedule::Timetable;

    #[derive(Default)]
    struct FakeLauncher {
        started: Vec<Vec<String>>,
        ended: BTreeMap<Ticket, i32>,
        stopped: Vec<Ticket>,
    }

    impl Launcher for FakeLauncher {
        fn start(&mut self, arguments: &[String], _log: &Path) -> std::io::Result<Ticket> {
            self.started.push(arguments[2..].to_vec());
            Ok(self.started.len() as Ticket)
        }
        fn ended(&mut self, ticket: Ticket) -> std::io::Result<Option<i32>> {
            Ok(self.ended.get(&ticket).copied())
        }
        fn stop(&mut self, ticket: Ticket) {
            self.stopped.push(ticket);
        }
    }

    fn utc(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    fn nightly(overlap: Overlap, catch_up: CatchUp) -> WatchedSpecs {
        let schedule = Schedule {
            name: "nightly".into(),
            cron: "0 2 * * *".into(),
            timezone: "Europe/Berlin".into(),
            jobs: vec!["report".into()],
            overlap,
            catch_up,
            origin: Origin { file: String::new(), line: 1, column: 1 },
        };
        let table = Timetable::new(&schedule).unwrap();
        WatchedSpecs::of(vec![WatchedSchedule {
            id: "quickstart.nightly".into(),
            spec_name: "quickstart".into(),
            spec: "quickstart.yaml".into(),
            schedule,
            table,
        }])
    }

    fn engine(dir: &StateDir, overlap: Overlap, catch_up: CatchUp) -> Engine<FakeLauncher> {
        Engine::new(dir, nightly(overlap, catch_up), FakeLauncher::default())
    }

    fn states(dir: &StateDir) -> Vec<(String, FiringState)> {
        let book = ScheduleBook::of(&read_state(dir).unwrap());
        book.firings.iter().map(|(key, firing)| (key.clone(), firing.state)).collect()
    }

    fn tick_from_to(engine: &mut Engine<FakeLauncher>, from: &str, to: &str, minutes: i64) {
        let mut now = utc(from);
        while now <= utc(to) {
            engine.tick(now).unwrap();
            now += minutes * 60_000;
        }
    }

    #[test]
    fn the_nightly_eval_fires_once_at_two_in_berlin_and_again_the_next_night() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let mut engine = engine(&dir, Overlap::Skip, CatchUp::Once);
        tick_from_to(&mut engine, "2026-01-10T23:00:00Z", "2026-01-11T00:59:00Z", 1);
        assert!(engine.launcher.started.is_empty());
        tick_from_to(&mut engine, "2026-01-11T01:00:00Z", "2026-01-11T01:10:00Z", 1);
        assert_eq!(engine.launcher.started, [["apply", "quickstart.yaml", "--only", "report"]]);
        engine.launcher.ended.insert(1, 0);
        tick_from_to(&mut engine, "2026-01-11T02:00:00Z", "2026-01-12T00:58:00Z", 2);
        assert_eq!(engine.launcher.started.len(), 1);
        assert_eq!(
            states(&dir),
            [("quickstart.nightly@2026-01-11T01:00:00Z".to_owned(), FiringState::Succeeded)]
        );
        tick_from_to(&mut engine, "2026-01-12T01:00:00Z", "2026-01-12T01:05:00Z", 1);
        assert_eq!(engine.launcher.started.len(), 2);
    }

    #[test]
    fn a_daemon_that_was_down_for_three_nights_catches_up_once() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        engine(&dir, Overlap::Skip, CatchUp::Once).tick(utc("2026-01-10T12:00:00Z")).unwrap();
        let mut engine = engine(&dir, Overlap::Skip, CatchUp::Once);
        tick_from_to(&mut engine, "2026-01-13T12:00:00Z", "2026-01-13T12:05:00Z", 1);
        assert_eq!(engine.launcher.started.len(), 1);
        let book = ScheduleBook::of(&read_state(&dir).unwrap());
        assert_eq!(book.firings["quickstart.nightly@2026-01-13T01:00:00Z"].note, "stands for 3 missed slots");
    }

    #[test]
    fn a_slot_that_a_dead_daemon_recorded_is_started_again_and_not_doubled() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let mut first = engine(&dir, Overlap::Skip, CatchUp::Once);
        tick_from_to(&mut first, "2026-01-11T00:59:00Z", "2026-01-11T01:00:00Z", 1);
        assert_eq!(first.launcher.started.len(), 1);
        drop(first);
        let mut second = engine(&dir, Overlap::Skip, CatchUp::Once);
        tick_from_to(&mut second, "2026-01-11T01:01:00Z", "2026-01-11T01:05:00Z", 1);
        assert_eq!(second.launcher.started.len(), 1);
        assert_eq!(states(&dir).len(), 1);
    }

    #[test]
    fn an_overlapping_slot_is_skipped_or_queued_as_the_spec_says() {
        for (overlap, expected) in
            [(Overlap::Skip, FiringState::Skipped), (Overlap::Queue, FiringState::Queued)]
        {
            let folder = tempfile::tempdir().unwrap();
            let dir = StateDir::new(folder.path());
            let mut engine = engine(&dir, overlap, CatchUp::Once);
            tick_from_to(&mut engine, "2026-01-11T00:59:00Z", "2026-01-12T01:01:00Z", 1);
            assert_eq!(engine.launcher.started.len(), 1);
            assert_eq!(states(&dir)[1].1, expected);
            engine.launcher.ended.insert(1, 0);
            tick_from_to(&mut engine, "2026-01-12T01:02:00Z", "2026-01-12T01:04:00Z", 1);
            assert_eq!(engine.launcher.started.len(), if overlap == Overlap::Queue { 2 } else { 1 });
        }
    }

    #[test]
    fn replace_stops_what_runs_and_then_fires() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let mut engine = engine(&dir, Overlap::Replace, CatchUp::Once);
        tick_from_to(&mut engine, "2026-01-11T00:59:00Z", "2026-01-12T01:01:00Z", 1);
        assert_eq!((engine.launcher.started.len(), engine.launcher.stopped.clone()), (1, vec![1]));
        engine.launcher.ended.insert(1, 3);
        tick_from_to(&mut engine, "2026-01-12T01:02:00Z", "2026-01-12T01:04:00Z", 1);
        assert_eq!(engine.launcher.started.len(), 2);
    }

    #[test]
    fn a_paused_schedule_does_not_fire_and_does_not_catch_up_when_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let mut engine = engine(&dir, Overlap::Skip, CatchUp::Once);
        engine.tick(utc("2026-01-10T12:00:00Z")).unwrap();
        assert!(engine.set_paused("quickstart.nightly", true, utc("2026-01-10T12:01:00Z")).unwrap());
        tick_from_to(&mut engine, "2026-01-11T00:50:00Z", "2026-01-11T01:10:00Z", 1);
        assert!(engine.set_paused("quickstart.nightly", false, utc("2026-01-11T12:00:00Z")).unwrap());
        tick_from_to(&mut engine, "2026-01-11T12:00:00Z", "2026-01-11T12:05:00Z", 1);
        assert!(engine.launcher.started.is_empty());
        tick_from_to(&mut engine, "2026-01-12T01:00:00Z", "2026-01-12T01:01:00Z", 1);
        assert_eq!(engine.launcher.started.len(), 1);
    }

    #[test]
    fn nothing_starts_while_another_process_holds_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let mut engine = engine(&dir, Overlap::Skip, CatchUp::Once);
        engine.tick(utc("2026-01-10T12:00:00Z")).unwrap();
        let held = State::open(&dir, "apply").unwrap();
        tick_from_to(&mut engine, "2026-01-11T01:00:00Z", "2026-01-11T01:05:00Z", 1);
        assert!(engine.launcher.started.is_empty() && states(&dir).is_empty());
        drop(held);
        engine.tick(utc("2026-01-11T01:06:00Z")).unwrap();
        assert_eq!(engine.launcher.started.len(), 1);
    }

    #[test]
    fn a_firing_by_hand_runs_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let mut engine = engine(&dir, Overlap::Skip, CatchUp::Once);
        engine.tick(utc("2026-01-10T12:00:00Z")).unwrap();
        assert!(engine.fire("quickstart.nightly", utc("2026-01-10T12:00:01Z")).unwrap());
        engine.tick(utc("2026-01-10T12:00:02Z")).unwrap();
        assert_eq!(engine.launcher.started.len(), 1);
        assert_eq!(states(&dir)[0].0, "quickstart.nightly@2026-01-10T12:00:01Z-manual");
    }
}
