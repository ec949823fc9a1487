use cupola_specs::spec::{CatchUp, Origin, Overlap, Schedule, SecretRef, Webhook};

use super::*;
use crate::daemon::ApplyOrder;
use crate::schedule::Timetable;
use crate::state::{State, read_journal, read_state};

#[derive(Default)]
struct FakeLauncher {
    started: Vec<Vec<String>>,
    ended: BTreeMap<Ticket, i32>,
    stopped: Vec<Ticket>,
}

impl Launcher for FakeLauncher {
    fn start(&mut self, arguments: &[String], _around: &Surroundings<'_>) -> std::io::Result<Ticket> {
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
        jitter_secs: 0,
        on_failure: None,
        on_regression: None,
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
    for (overlap, expected) in [(Overlap::Skip, FiringState::Skipped), (Overlap::Queue, FiringState::Queued)]
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
fn cancel_previous_stops_what_runs_once_and_then_fires() {
    let folder = tempfile::tempdir().unwrap();
    let dir = StateDir::new(folder.path());
    let mut engine = engine(&dir, Overlap::CancelPrevious, CatchUp::Once);
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

#[test]
fn a_firing_that_fails_has_its_alert_in_the_journal_before_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let dir = StateDir::new(folder.path());
    let name = |name: &str| SecretRef { name: name.to_owned() };
    let mut specs = nightly(Overlap::Skip, CatchUp::Once).schedules().to_vec();
    specs[0].schedule.on_failure = Some(Webhook { url: name("HOOK"), signing_key: Some(name("KEY")) });
    let mut engine = Engine::new(&dir, WatchedSpecs::of(specs), FakeLauncher::default());
    tick_from_to(&mut engine, "2026-01-11T00:59:00Z", "2026-01-11T01:00:00Z", 1);
    assert!(!engine.note(Vec::new()).unwrap(), "the firing's process needs the folder");
    engine.launcher.ended.insert(1, 2);
    tick_from_to(&mut engine, "2026-01-11T01:05:00Z", "2026-01-11T01:09:00Z", 1);
    let records = read_journal(&dir.journal()).unwrap().records;
    let keys: Vec<(String, String)> = records
        .into_iter()
        .filter_map(|record| match record.fact {
            Fact::Noted { key, value, .. } if key.contains('@') => {
                Some((key, value["state"].as_str().unwrap_or("alert").to_owned()))
            }
            _ => None,
        })
        .collect();
    let firing = "quickstart.nightly@2026-01-11T01:00:00Z";
    let expected = [
        (firing, "queued"),
        (firing, "started"),
        (&format!("{firing}/run_failed"), "alert"),
        (firing, "failed"),
    ];
    assert_eq!(keys, expected.map(|(key, state)| (key.to_owned(), state.to_owned())));
    assert!(engine.note(Vec::new()).unwrap());
}

fn order(spec: &str) -> ApplyOrder {
    ApplyOrder { arguments: vec!["apply".into(), spec.into()], via: "api".into(), ..ApplyOrder::default() }
}

#[test]
fn orders_and_firings_start_one_at_a_time_in_the_order_in_which_they_came() {
    let folder = tempfile::tempdir().unwrap();
    let dir = StateDir::new(folder.path());
    let mut engine = engine(&dir, Overlap::Skip, CatchUp::Once);
    tick_from_to(&mut engine, "2026-01-10T23:00:00Z", "2026-01-10T23:01:00Z", 1);
    let holder = State::open(&dir, "apply").unwrap();
    engine.place(order("a.yaml"), utc("2026-01-11T00:30:00Z")).unwrap();
    tick_from_to(&mut engine, "2026-01-11T01:00:00Z", "2026-01-11T01:01:00Z", 1);
    let second = engine.place(order("b.yaml"), utc("2026-01-11T01:02:00Z")).unwrap();
    let third = engine.place(order("c.yaml"), utc("2026-01-11T01:03:00Z")).unwrap();
    assert!(engine.launcher.started.is_empty(), "somebody holds the folder");
    drop(holder);
    for (at, expected) in ["a.yaml", "quickstart.yaml", "b.yaml", "c.yaml"].into_iter().enumerate() {
        let now = utc("2026-01-11T01:04:00Z") + at as i64 * 60_000;
        engine.tick(now).unwrap();
        engine.tick(now + 1).unwrap();
        assert_eq!(engine.launcher.started.len(), at + 1, "one at a time");
        assert!(engine.launcher.started[at].iter().any(|word| word == expected), "{expected}");
        assert!(!engine.note(Vec::new()).unwrap(), "its process needs the folder");
        if expected == "b.yaml" {
            assert!(!engine.withdraw(&second), "it has begun");
        }
        engine.launcher.ended.insert(at as Ticket + 1, 0);
    }
    engine.tick(utc("2026-01-11T01:30:00Z")).unwrap();
    assert!(OrderFiles::new(&dir).waiting().is_empty());
    assert_eq!(OrderFiles::new(&dir).code(&third), Some(0));
}

#[test]
fn the_next_daemon_takes_up_orders_and_what_was_taken_back_starts_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let dir = StateDir::new(folder.path());
    let now = utc("2026-01-10T12:00:00Z");
    let mut first = engine(&dir, Overlap::Skip, CatchUp::Once);
    for spec in ["a.yaml", "b.yaml", "c.yaml"] {
        first.place(order(spec), now).unwrap();
    }
    assert_eq!(first.launcher.started.len(), 1);
    let waiting = OrderFiles::new(&dir).waiting();
    OrderFiles::new(&dir).note_run(&waiting[0].id, "t-1").unwrap();
    assert!(first.withdraw(&waiting[1].id) && !first.withdraw(&waiting[1].id));
    drop(first);
    let mut second = engine(&dir, Overlap::Skip, CatchUp::Once);
    let running = State::open(&dir, "apply").unwrap();
    second.tick(now + 1_000).unwrap();
    assert!(second.launcher.started.is_empty(), "the process of the first one goes on");
    drop(running);
    second.tick(now + 2_000).unwrap();
    assert_eq!(second.launcher.started.len(), 1);
    assert!(second.launcher.started[0].iter().any(|word| word == "c.yaml"));
    second.launcher.ended.insert(1, -1);
    second.tick(now + 3_000).unwrap();
    let files = OrderFiles::new(&dir);
    assert_eq!(files.code(&waiting[2].id), Some(1), "a process that was killed has failed");
    let said = std::fs::read_to_string(files.errors(&waiting[2].id)).unwrap();
    assert!(said.contains("ended from outside"), "{said}");
}
