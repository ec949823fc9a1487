//! Warnings about civil times that a change of the clock leaves out or gives twice.

use chrono::{Duration, NaiveDateTime, Offset, TimeDelta};
use cupola_specs::spec::Schedule;

use super::Timetable;

/// How far ahead changes are looked for.
const AHEAD: TimeDelta = Duration::days(365);
const DAY_MILLIS: i64 = 86_400_000;
/// Times of one change that are named; more are counted.
const NAMED: usize = 3;

/// A change of the clock.
struct Change {
    /// Its first instant, milliseconds since the Unix epoch.
    at_millis: i64,
    /// What the clock shows up to it.
    before: NaiveDateTime,
    /// What it shows from it on.
    after: NaiveDateTime,
}

/// What a user should know of the year from an instant on: `02:30 does not exist on 2027-03-28 in Europe/Berlin; it fires at 03:00`. Empty
/// where no slot meets a change of the clock, or where the schedule goes on by the hour.
pub fn clock_warnings(schedule: &Schedule, from_millis: i64) -> Vec<String> {
    let Ok(table) = Timetable::new(schedule) else { return Vec::new() };
    if table.is_hourly() {
        return Vec::new();
    }
    let changes = changes(&table, from_millis, from_millis + AHEAD.num_milliseconds());
    changes.iter().filter_map(|change| warning(&table, &schedule.timezone, change)).collect()
}

fn warning(table: &Timetable, zone: &str, change: &Change) -> Option<String> {
    let is_gap = change.after > change.before;
    let (low, high) = if is_gap { (change.before, change.after) } else { (change.after, change.before) };
    let times = civil_times(table, low, high);
    let named: Vec<String> = times.iter().take(NAMED).map(|time| time.format("%H:%M").to_string()).collect();
    let more = times.len().saturating_sub(NAMED);
    let mut what = named.join(", ");
    if more > 0 {
        what = format!("{what} and {more} more");
    }
    let (first, many) = (times.first()?, times.len() > 1);
    let day = first.format("%Y-%m-%d");
    if is_gap {
        let (verb, once) =
            if many { ("do not exist", "they fire once,") } else { ("does not exist", "it fires") };
        let fires = change.after.format("%H:%M");
        return Some(format!("{what} {verb} on {day} in {zone}; {once} at {fires}"));
    }
    let (verb, once) = if many { ("happen twice", "they fire") } else { ("happens twice", "it fires") };
    let next = table.next(change.at_millis - (high - low).num_milliseconds() - 1)?;
    let at = table.text(next);
    Some(format!("{what} {verb} on {day} in {zone}; {once} the first time only ({at})"))
}

/// The civil times of the schedule from one up to before another.
fn civil_times(table: &Timetable, low: NaiveDateTime, high: NaiveDateTime) -> Vec<NaiveDateTime> {
    let first = table.next_civil(low - Duration::seconds(1));
    std::iter::successors(first, |time| table.next_civil(*time)).take_while(|time| *time < high).collect()
}

/// Changes of the clock in a stretch of time. No zone has two within a day.
fn changes(table: &Timetable, from_millis: i64, until_millis: i64) -> Vec<Change> {
    let offset = |millis: i64| table.local(millis).map(|at| at.offset().fix());
    let mut found = Vec::new();
    let mut day = from_millis;
    while day < until_millis {
        let (mut low, mut high) = (day, day + DAY_MILLIS);
        let (before, after) = (offset(low), offset(high));
        if before != after {
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                if offset(middle) == before { low = middle } else { high = middle }
            }
            found.extend(change_at(table, high));
        }
        day += DAY_MILLIS;
    }
    found
}

fn change_at(table: &Timetable, at_millis: i64) -> Option<Change> {
    let before = table.local(at_millis - 1)?.naive_local() + Duration::milliseconds(1);
    Some(Change { at_millis, before, after: table.local(at_millis)?.naive_local() })
}

#[cfg(test)]
mod tests {
    use super::super::timetable::tests::{schedule, utc};
    use super::*;

    fn warnings(cron: &str, zone: &str) -> Vec<String> {
        clock_warnings(&schedule(cron, zone), utc("2026-11-23T12:00:00Z"))
    }

    #[test]
    fn a_time_that_does_not_exist_or_happens_twice_is_told_with_its_day() {
        assert_eq!(
            warnings("30 2 * * *", "Europe/Berlin"),
            [
                "02:30 does not exist on 2027-03-28 in Europe/Berlin; it fires at 03:00",
                "02:30 happens twice on 2027-10-31 in Europe/Berlin; it fires the first time only (2027-10-31 02:30 CEST)",
            ]
        );
        assert_eq!(
            warnings("*/10 2 * * *", "America/New_York"),
            [
                "02:00, 02:10, 02:20 and 3 more do not exist on 2027-03-14 in America/New_York; they fire once, at 03:00"
            ]
        );
        assert_eq!(
            warnings("45 1 * * *", "Australia/Lord_Howe"),
            [
                "01:45 happens twice on 2027-04-04 in Australia/Lord_Howe; it fires the first time only (2027-04-04 01:45 +11)"
            ]
        );
        assert_eq!(
            warnings("0 2 * * *", "Australia/Lord_Howe"),
            ["02:00 does not exist on 2027-10-03 in Australia/Lord_Howe; it fires at 02:30"]
        );
    }

    #[test]
    fn nobody_is_warned_of_other_times_days_zones_or_of_every_hour() {
        for (cron, zone) in [
            ("0 4 * * *", "Europe/Berlin"),
            ("30 2 * * 3", "Europe/Berlin"),
            ("30 2 * * *", "UTC"),
            ("30 2 * * *", "Asia/Tokyo"),
            ("30 * * * *", "Europe/Berlin"),
        ] {
            assert_eq!(warnings(cron, zone), Vec::<String>::new(), "{cron} {zone}");
        }
    }
}
