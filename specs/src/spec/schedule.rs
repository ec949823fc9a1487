//! Schedules: cron expressions, time zones, and the jobs that they name.

use std::str::FromStr;

use croner::parser::CronParser;
use serde::{Deserialize, Serialize};

use super::codes::Code;
use super::decode::Named;
use super::document::ScheduleWritten;
use super::jobs::{Resolver, check_name};
use super::origin::Origin;

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
    /// It cancels the running one.
    Replace,
}

/// What happens with firings that were missed while no daemon ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They are skipped.
    Skip,
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
