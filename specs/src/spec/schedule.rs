//! Schedules: cron expressions, time zones, and the jobs that they name.

use std::str::FromStr;

use chrono::{TimeZone, Utc};
use croner::parser::CronParser;
use serde::{Deserialize, Serialize};

use super::codes::Code;
use super::decode::Named;
use super::document::ScheduleWritten;
use super::jobs::{Resolver, check_name};
use super::origin::Origin;

/// 2028-01-01T00:00:00Z.
const LEAP_YEAR_SECS: i64 = 1_830_297_600;
/// Slots that are looked at for the shortest time between two.
const GAP_SLOTS: usize = 400;

/// One schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// Five fields: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// IANA zone. Default: UTC.
    pub timezone: String,
    /// Jobs that a firing runs again, with what they need.
    pub jobs: Vec<String>,
    /// What happens while the last firing still runs. Default: skip.
    pub overlap: Overlap,
    /// What happens with firings that were missed. Default: once.
    pub catch_up: CatchUp,
    /// A firing starts by less than this many seconds later than its slot. Default: 0.
    pub jitter_secs: u64,
    /// Where it is written.
    pub origin: Origin,
}

/// What happens while the last firing still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The new firing is skipped and recorded.
    Skip,
    /// It waits for the running one.
    Queue,
    /// It cancels what runs or waits.
    CancelPrevious,
}

/// What happens with firings that were missed while no daemon ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// None of them fires.
    None,
    /// One firing stands for all of them.
    Once,
    /// Each fires.
    All,
}

/// Checks and resolves every schedule.
pub(crate) fn resolve_schedules(
    written: &Named<ScheduleWritten>,
    resolver: &mut Resolver<'_, '_>,
) -> Vec<Schedule> {
    let mut out = Vec::new();
    for (key, schedule) in &written.0 {
        check_name(key, resolver.session);
        check_cron(schedule, resolver);
        check_timezone(schedule, resolver);
        check_jitter(schedule, resolver);
        let mut jobs = Vec::new();
        for job in &schedule.jobs {
            jobs.extend(resolver.find_all(&job.value, job.spot).into_iter().map(|job| job.name.clone()));
        }
        if schedule.jobs.is_empty() {
            resolver
                .session
                .error(Code::MissingField, key.spot, format!("the schedule `{}` names no job", key.name))
                .expecting("at least one job in `jobs`");
        }
        out.push(Schedule {
            name: key.name.clone(),
            cron: schedule.cron.value.clone(),
            timezone: schedule.timezone.value.clone(),
            jobs,
            overlap: schedule.overlap,
            catch_up: schedule.catch_up,
            jitter_secs: schedule.jitter.value.0.ceil() as u64,
            origin: resolver.session.origin(key.spot),
        });
    }
    out
}

/// Five fields that croner reads.
fn check_cron(schedule: &ScheduleWritten, resolver: &mut Resolver<'_, '_>) {
    let (cron, spot) = (&schedule.cron.value, schedule.cron.spot);
    let problem = if cron.split_whitespace().count() == 5 {
        CronParser::new().parse(cron).err().map(|error| error.to_string())
    } else {
        Some(format!("it has {} fields", cron.split_whitespace().count()))
    };
    if let Some(problem) = problem {
        resolver
            .session
            .error(Code::BadCron, spot, format!("`{cron}` is not a cron expression: {problem}"))
            .expecting("five fields: minute, hour, day of month, month, day of week, such as \"0 2 * * *\"");
    }
}

/// A jitter after which no slot starts later than the one behind it.
fn check_jitter(schedule: &ScheduleWritten, resolver: &mut Resolver<'_, '_>) {
    let (secs, spot) = (schedule.jitter.value.0, schedule.jitter.spot);
    if secs == 0.0 {
        return;
    }
    if let Some(gap) = shortest_gap(&schedule.cron.value).filter(|gap| secs >= *gap as f64) {
        resolver
            .session
            .error(Code::OutOfRange, spot, "the jitter reaches the next slot")
            .expecting(format!("less than the {gap} s between two slots"));
    }
}

/// Seconds between the two slots that are nearest to each other, by a clock that never changes; none where there are no two.
fn shortest_gap(cron: &str) -> Option<i64> {
    let cron = CronParser::new().parse(cron).ok()?;
    // From the first day of a leap year on, so that each day of the calendar comes.
    let mut last = Utc.timestamp_opt(LEAP_YEAR_SECS, 0).single()?;
    let (mut shortest, mut before) = (None, None);
    for _ in 0..GAP_SLOTS {
        let Ok(next) = cron.find_next_occurrence(&last, false) else { break };
        let gap = before.map(|before| next.timestamp() - before);
        shortest = [shortest, gap].into_iter().flatten().min();
        (before, last) = (Some(next.timestamp()), next);
    }
    shortest
}

/// A zone of the IANA data base.
fn check_timezone(schedule: &ScheduleWritten, resolver: &mut Resolver<'_, '_>) {
    let (zone, spot) = (&schedule.timezone.value, schedule.timezone.spot);
    if chrono_tz::Tz::from_str(zone).is_err() {
        resolver
            .session
            .error(Code::BadTimezone, spot, format!("there is no time zone `{zone}`"))
            .expecting("a name of the IANA data base such as Europe/Berlin")
            .suggesting(zone, chrono_tz::TZ_VARIANTS.iter().map(|tz| tz.name()));
    }
}
