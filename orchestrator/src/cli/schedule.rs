//! `cupola schedule`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::json;

use super::apply::{ApplyArgs, run as apply};
use super::load::{SelectArgs, SpecArgs};
use super::tables::{plain_table, text_of};
use super::{CliError, Global, Outcome};
use crate::api::schedule_json;
use crate::daemon::{WatchedSchedule, WatchedSpecs, find_schedule, firing, pause_record};
use crate::report::format::time;
use crate::schedule::{FiringRecord, FiringState, ScheduleBook, ScheduleError};
use crate::state::{Fact, State, StateError, now_millis, read_state};

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
    if global.json {
        let all: Vec<_> = watched.schedules().iter().map(|one| schedule_json(one, &book)).collect();
        println!("{:#}", json!({ "schedules": all }));
        return Ok(Outcome::Done);
    }
    if watched.schedules().is_empty() {
        println!("no schedule: give a spec, or apply one that has `schedules`");
        return Ok(Outcome::Done);
    }
    let mut table = plain_table(&["SCHEDULE", "CRON", "ZONE", "JOBS", "NEXT", "LAST"]);
    for one in watched.schedules() {
        let paused = book.schedules.get(&one.id).is_some_and(|record| record.paused);
        let next = if paused {
            "paused".to_owned()
        } else {
            one.table.next(now_millis()).map_or("never".into(), time)
        };
        let last = book.firings_of(&one.id).map(|(_, firing)| firing).max_by_key(|firing| firing.slot_millis);
        table.add_row([
            one.id.clone(),
            one.schedule.cron.clone(),
            one.schedule.timezone.clone(),
            one.schedule.jobs.join(", "),
            next,
            last.map_or("never".to_owned(), |last| {
                format!("{} {}", time(last.slot_millis), last.state.as_str())
            }),
        ]);
    }
    println!("{}", text_of(&table));
    Ok(Outcome::Done)
}

fn set_paused(one: &OneSchedule, paused: bool, global: &Global) -> Result<Outcome, CliError> {
    let (watched, book) = watched(&one.spec, global)?;
    let found = find_schedule(watched.schedules(), &one.name)?;
    let record = pause_record(&book, &found.id, found.spec.clone(), paused, now_millis());
    note(global, record.fact(&found.id)?)?;
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
    note(global, record.fact()?)?;
    let ended = apply(&apply_args(found), global);
    record.state =
        if matches!(ended, Ok(Outcome::Done)) { FiringState::Succeeded } else { FiringState::Failed };
    record.exit_code = Some(match &ended {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::Interrupted) => 3,
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
    }
}

fn finish(record: &mut FiringRecord, found: &WatchedSchedule, global: &Global) -> Result<(), CliError> {
    let projection = read_state(&global.state_dir())?;
    record.run = projection.latest_run(Some(&found.spec_name)).map(|run| run.id.clone());
    note(global, record.fact()?)
}

/// Records a fact; waits a moment for a process that holds the folder.
fn note(global: &Global, fact: Fact) -> Result<(), CliError> {
    let since = Instant::now();
    loop {
        match State::open(&global.state_dir(), "schedule") {
            Ok(mut state) => return Ok(state.record(vec![fact])?),
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
