//! Schedules: cron expressions, time zones, and the jobs that they name.

use std::str::FromStr;

use chrono::{TimeZone, Utc};
use croner::parser::CronParser;
use serde::{Deserialize, Serialize};

use super::codes::Code;
use super::decode::Named;
use super::document::{ScheduleWritten, WebhookWritten};
use super::jobs::{Resolver, check_name};
use super::origin::Origin;
use super::resolved::{JobKind, SecretRef};

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
    /// Who is told when a firing fails; none where nobody is.
    pub on_failure: Option<Webhook>,
    /// Who is told when a firing's report is worse than the one before it; none where nobody is.
    pub on_regression: Option<Webhook>,
    /// Where it is written.
    pub origin: Origin,
}

/// Who is told, by a POST. Both values are named here and read where they are used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// The URL.
    pub url: SecretRef,
    /// The key that signs each POST; none where it goes unsigned.
    pub signing_key: Option<SecretRef>,
}

impl Webhook {
    fn of(written: &WebhookWritten) -> Self {
        let signing_key = written.signing_key.as_ref().map(|key| key.0.clone());
        Self { url: written.webhook.0.clone(), signing_key }
    }
}

/// What happens while the last firing still runs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema,
)]
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
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema,
)]
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
        let mut has_report = false;
        for job in &schedule.jobs {
            for found in resolver.find_all(&job.value, job.spot) {
                // A job whose kind is wrong has an error of its own.
                has_report |= found.kind.is_none_or(|kind| kind == JobKind::Eval);
                jobs.push(found.name.clone());
            }
        }
        if schedule.jobs.is_empty() {
            resolver
                .session
                .error(Code::MissingField, key.spot, format!("the schedule `{}` names no job", key.name))
                .expecting("at least one job in `jobs`");
        }
        if schedule.on_regression.is_some() && !jobs.is_empty() && !has_report {
            let message =
                format!("the schedule `{}` has `on_regression` and no job that makes a report", key.name);
            resolver.session.error(Code::Conflict, key.spot, message).expecting("an eval job in `jobs`");
        }
        out.push(Schedule {
            name: key.name.clone(),
            cron: schedule.cron.value.clone(),
            timezone: schedule.timezone.value.clone(),
            jobs,
            overlap: schedule.overlap,
            catch_up: schedule.catch_up,
            jitter_secs: schedule.jitter.value.0.ceil() as u64,
            on_failure: schedule.on_failure.as_ref().map(Webhook::of),
            on_regression: schedule.on_regression.as_ref().map(Webhook::of),
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
