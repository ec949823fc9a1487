//! `cupola schedule`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use cupola_specs::spec::{ResolvedSpec, Schedule};
use serde_json::{Value, json};

use super::alerts::send_test;
use super::apply::{ApplyArgs, run as apply};
use super::load::{SelectArgs, SpecArgs};
use super::tables::{plain_table, text_of};
use super::{CliError, Global, Outcome};
use crate::alert::{ProcessSecrets, secret_warnings};
use crate::api::schedule_state;
use crate::daemon::{WatchedSchedule, WatchedSpecs, find_schedule, firing, pause_record};
use crate::schedule::{FiringRecord, FiringState, ScheduleBook, ScheduleError, clock_warnings, upcoming};
use crate::state::{Fact, Projection, State, StateError, now_millis, read_state};

const PATIENCE: Duration = Duration::from_secs(10);

/// Arguments of `cupola schedule`.
#[derive(Debug, Args)]
pub struct ScheduleArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: ScheduleVerb,
}

/// What to do with schedules.
#[derive(Debug, Subcommand)]
pub enum ScheduleVerb {
    /// Lists schedules with their next slot and what became of the last one.
    List {
        /// Specs; those of the runs in the state folder where none is given.
        specs: Vec<PathBuf>,
    },
    /// Stops a schedule from firing.
    Pause(OneSchedule),
    /// Lets a paused schedule fire again, from now on.
    Resume(OneSchedule),
    /// Fires a schedule at once, in this terminal.
    Fire(OneSchedule),
    /// Sends a test alert to the webhooks of a schedule, and says what came back.
    TestAlert(OneSchedule),
}

/// One schedule.
#[derive(Debug, Args)]
pub struct OneSchedule {
    /// Its name, or `spec.name` where several specs have one of that name.
    pub name: String,
    /// The spec; those of the runs in the state folder where none is given.
    #[arg(long, value_name = "FILE")]
    pub spec: Vec<PathBuf>,
}

/// Lists, pauses, resumes and fires schedules.
pub(super) fn run(args: &ScheduleArgs, global: &Global) -> Result<Outcome, CliError> {
    match &args.verb {
        ScheduleVerb::List { specs } => list(specs, global),
        ScheduleVerb::Pause(one) => set_paused(one, true, global),
        ScheduleVerb::Resume(one) => set_paused(one, false, global),
        ScheduleVerb::Fire(one) => fire(one, global),
        ScheduleVerb::TestAlert(one) => {
            let (watched, _) = watched(&one.spec, global)?;
            send_test(find_schedule(watched.schedules(), &one.name)?, global)
        }
    }
}

fn watched(specs: &[PathBuf], global: &Global) -> Result<(WatchedSpecs, ScheduleBook), CliError> {
    for spec in specs {
        super::load::load_spec(spec, &[], global.json)?;
    }
    let projection = read_state(&global.state_dir())?;
    let (watched, problems) = WatchedSpecs::open(specs, &projection);
    for problem in problems {
        eprintln!("{problem}");
    }
    Ok((watched, ScheduleBook::of(&projection)))
}

fn list(specs: &[PathBuf], global: &Global) -> Result<Outcome, CliError> {
    let (watched, book) = watched(specs, global)?;
    let (object, text) = listed(watched.schedules(), &book, now_millis());
    if global.json {
        println!("{object:#}");
    } else {
        println!("{text}");
    }
    Ok(Outcome::Done)
}

/// The schedules of the specs of the runs in the state folder, as JSON and as text.
pub(super) fn known_schedules(projection: &Projection) -> (Value, String) {
    let (watched, problems) = WatchedSpecs::open(&[], projection);
    for problem in problems {
        eprintln!("{problem}");
    }
    listed(watched.schedules(), &ScheduleBook::of(projection), now_millis())
}

/// A table of schedules, and under it the next firings of each with what the clock does to it.
fn listed(schedules: &[WatchedSchedule], book: &ScheduleBook, now_millis: i64) -> (Value, String) {
    let all: Vec<Value> = schedules.iter().map(|one| json!(schedule_state(one, book, now_millis))).collect();
    let object = json!({ "schedules": all });
    if schedules.is_empty() {
        return (object, "no schedule: give a spec, or apply one that has `schedules`".to_owned());
    }
    let mut table = plain_table(&["SCHEDULE", "CRON", "ZONE", "JOBS", "OVERLAP", "CATCH UP", "LAST"]);
    for one in schedules {
        let last = book.firings_of(&one.id).map(|(_, firing)| firing).max_by_key(|firing| firing.slot_millis);
        table.add_row([
            one.id.clone(),
            one.schedule.cron.clone(),
            one.schedule.timezone.clone(),
            one.schedule.jobs.join(", "),
            word(&json!(one.schedule.overlap)),
            word(&json!(one.schedule.catch_up)),
            last.map_or("never".to_owned(), |last| {
                format!("{} {}", one.table.text(last.slot_millis), last.state.as_str())
            }),
        ]);
    }
    let to_come = schedules.iter().map(|one| to_come(one, book, now_millis).join("\n"));
    let parts: Vec<String> = std::iter::once(text_of(&table)).chain(to_come).collect();
    (object, parts.join("\n\n"))
}

/// A word of the language as it is written in a spec.
fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Lines about what is to come of a schedule.
fn to_come(one: &WatchedSchedule, book: &ScheduleBook, now_millis: i64) -> Vec<String> {
    let mut lines = Vec::new();
    if book.schedules.get(&one.id).is_some_and(|record| record.paused) {
        lines.push(format!("{} is paused: `cupola schedule resume {}`", one.id, one.id));
    } else {
        let next = upcoming(one.named(), book, now_millis, 5);
        lines.push(format!("{} fires next{}", one.id, if next.is_empty() { ": never" } else { "" }));
        lines.extend(next.into_iter().map(|next| format!("  {}", next.starts)));
    }
    let warnings = clock_warnings(&one.schedule, now_millis);
    lines.extend(warnings.into_iter().map(|warning| format!("  note: {warning}")));
    lines
}

/// What the clock does to the schedules of a spec within a year, and what their webhooks lack here, one line each.
pub(super) fn spec_warnings(spec: &ResolvedSpec, now_millis: i64) -> Vec<String> {
    let of = |schedule: &Schedule| {
        let warnings = clock_warnings(schedule, now_millis);
        let name = schedule.name.clone();
        warnings.into_iter().map(move |warning| format!("schedule `{name}`: {warning}"))
    };
    let of_secrets = |schedule: &Schedule| secret_warnings(schedule, &ProcessSecrets);
    spec.schedules.iter().flat_map(of).chain(spec.schedules.iter().flat_map(of_secrets)).collect()
}

fn set_paused(one: &OneSchedule, paused: bool, global: &Global) -> Result<Outcome, CliError> {
    let (watched, book) = watched(&one.spec, global)?;
    let found = find_schedule(watched.schedules(), &one.name)?;
    let record = pause_record(&book, &found.id, found.spec.clone(), paused, now_millis());
    note(global, vec![global.acted(""), record.fact(&found.id)?])?;
    let word = if paused { "paused" } else { "goes on" };
    if global.json {
        println!("{}", json!({ "schedule": found.id, "paused": paused }));
    } else {
        println!("{}: {word}", found.id);
    }
    Ok(Outcome::Done)
}

fn fire(one: &OneSchedule, global: &Global) -> Result<Outcome, CliError> {
    let (watched, _) = watched(&one.spec, global)?;
    let found = find_schedule(watched.schedules(), &one.name)?;
    let now = now_millis();
    let mut record = firing(&found.id, now, now, FiringState::Started, "", true);
    note(global, vec![global.acted(""), record.fact()?])?;
    let ended = apply(&apply_args(found), global);
    record.state =
        if matches!(ended, Ok(Outcome::Done)) { FiringState::Succeeded } else { FiringState::Failed };
    record.exit_code = Some(match &ended {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::Interrupted) => 3,
        Ok(Outcome::Told(code)) => i32::from(*code),
        Ok(Outcome::Failed) | Err(_) => 1,
    });
    finish(&mut record, found, global)?;
    ended
}

fn apply_args(found: &WatchedSchedule) -> ApplyArgs {
    ApplyArgs {
        spec: SpecArgs { spec: found.spec.clone(), ..SpecArgs::default() },
        select: SelectArgs { only: found.schedule.jobs.clone(), from: Vec::new() },
        on: "local".to_owned(),
        detach: false,
        background: false,
        is_recorded: true,
    }
}

fn finish(record: &mut FiringRecord, found: &WatchedSchedule, global: &Global) -> Result<(), CliError> {
    let projection = read_state(&global.state_dir())?;
    record.run = projection.latest_run(Some(&found.spec_name)).map(|run| run.id.clone());
    note(global, vec![record.fact()?])
}

/// Records facts; waits a moment for a process that holds the folder.
fn note(global: &Global, facts: Vec<Fact>) -> Result<(), CliError> {
    let since = Instant::now();
    loop {
        match State::open(&global.state_dir(), "schedule") {
            Ok(mut state) => return Ok(state.record(facts)?),
            Err(StateError::Locked { .. }) if since.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl From<ScheduleError> for CliError {
    fn from(error: ScheduleError) -> Self {
        Self::input(error.to_string(), error.hint())
    }
}

impl From<serde_json::Error> for CliError {
    fn from(error: serde_json::Error) -> Self {
        Self::Other {
            message: format!("a record could not be encoded: {error}"),
            hint: String::new(),
            class: cupola_specs::contract::ErrorClass::Bug,
        }
    }
}

#[cfg(test)]
mod tests {
    use cupola_specs::spec::{CatchUp, Origin, Overlap};

    use super::*;
    use crate::schedule::{ScheduleRecord, Timetable};

    fn watched(name: &str, cron: &str, zone: &str) -> WatchedSchedule {
        let schedule = Schedule {
            name: name.into(),
            cron: cron.into(),
            timezone: zone.into(),
            jobs: vec!["report".into()],
            overlap: Overlap::CancelPrevious,
            catch_up: CatchUp::None,
            jitter_secs: 0,
            on_failure: None,
            on_regression: None,
            origin: Origin { file: String::new(), line: 1, column: 1 },
        };
        let table = Timetable::new(&schedule).unwrap();
        WatchedSchedule {
            id: format!("t.{name}"),
            spec_name: "t".into(),
            spec: "t.yaml".into(),
            schedule,
            table,
        }
    }

    #[test]
    fn the_list_has_five_firings_and_what_the_clock_does() {
        let now = "2027-03-26T12:00:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let all = [watched("nightly", "30 2 * * *", "Europe/Berlin"), watched("weekly", "0 6 * * 1", "UTC")];
        let mut book = ScheduleBook::default();
        let record = ScheduleRecord { spec: "t.yaml".into(), paused: true, since_millis: 0 };
        book.schedules.insert("t.weekly".into(), record);
        book.take(firing("t.nightly", now - 36_000_000, now, FiringState::Succeeded, "", false));
        let (object, text) = listed(&all, &book, now);
        insta::assert_snapshot!(text);
        assert_eq!(object["schedules"][0]["upcoming"].as_array().unwrap().len(), 5);
        assert_eq!(object["schedules"][0]["warnings"].as_array().unwrap().len(), 2);
        assert_eq!(object["schedules"][1]["upcoming"], json!([]));
    }
}
