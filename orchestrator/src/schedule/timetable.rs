//! Cron and time zone to instants.
//!
//! Cron speaks of civil times; each is turned into the instants at which the clock of the zone shows it. A schedule at fixed hours has
//! one slot for each civil time: where spring leaves it out it is the instant of the change, where autumn gives it twice the first
//! one, and civil times that fall on one instant are one slot. A schedule at every hour (`*` or `*/N` in the field of hours) goes on by the
//! clock instead: what spring leaves out is left out, and what autumn gives twice counts twice.

use std::collections::VecDeque;
use std::str::FromStr;

use chrono::{
    DateTime, Duration, MappedLocalTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc,
};
use chrono_tz::{GapInfo, Tz};
use croner::Cron;
use cupola_specs::spec::Schedule;

use super::ScheduleError;

/// No clock is set by more than this at once.
const CHANGE: TimeDelta = Duration::hours(3);
/// Civil times that are looked at for one slot: those of a change, minute by minute, and some more.
const MOST_TRIED: usize = 2_000;

/// The instants of a schedule.
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: Tz,
    /// Whether it goes on by the hour.
    is_hourly: bool,
}

/// The slots of a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Slots {
    /// How many are older than the newest ones.
    pub older: u64,
    /// The last of those.
    pub last_older_millis: Option<i64>,
    /// The newest ones, oldest first; milliseconds since the Unix epoch.
    pub newest: Vec<i64>,
}

impl Timetable {
    /// The timetable of a schedule.
    pub fn new(schedule: &Schedule) -> Result<Self, ScheduleError> {
        let cron = Cron::from_str(&schedule.cron).map_err(|error| ScheduleError::Cron {
            schedule: schedule.name.clone(),
            cron: schedule.cron.clone(),
            problem: error.to_string(),
        })?;
        let zone = Tz::from_str(&schedule.timezone).map_err(|_| ScheduleError::Zone {
            schedule: schedule.name.clone(),
            zone: schedule.timezone.clone(),
        })?;
        let is_hourly = schedule.cron.split_whitespace().nth(1).is_some_and(|hour| hour.starts_with('*'));
        Ok(Self { cron, zone, is_hourly })
    }

    /// The first slot after an instant; milliseconds since the Unix epoch. None where there is none in the years that cron can see.
    pub fn next(&self, after_millis: i64) -> Option<i64> {
        let after = self.local(after_millis)?;
        let mut civil = after.naive_local();
        if self.is_hourly && Self::changes_near(after) {
            // What was before may come again.
            civil -= CHANGE;
        }
        let mut found: Option<i64> = None;
        for _ in 0..MOST_TRIED {
            let Some(next) = self.next_civil(civil) else { return found };
            civil = next;
            let instants = self.instants(civil);
            if found.is_some_and(|found| instants.first().is_some_and(|first| *first > found)) {
                return found;
            }
            let later = instants.into_iter().find(|instant| *instant > after_millis);
            found = found.into_iter().chain(later).min();
            if !self.is_hourly && found.is_some() {
                return found;
            }
        }
        found
    }

    /// The next `count` slots after an instant.
    pub fn upcoming(&self, after_millis: i64, count: usize) -> Vec<i64> {
        std::iter::successors(self.next(after_millis), |slot| self.next(*slot)).take(count).collect()
    }

    /// The slots after one instant, up to and with another: the newest `most` of them, and how many there are before those.
    pub fn between(&self, after_millis: i64, until_millis: i64, most: usize) -> Slots {
        let mut slots = Slots::default();
        let mut newest = VecDeque::new();
        let mut from = after_millis;
        while let Some(slot) = self.next(from).filter(|slot| *slot <= until_millis) {
            newest.push_back(slot);
            if newest.len() > most {
                slots.older += 1;
                slots.last_older_millis = newest.pop_front();
            }
            from = slot;
        }
        slots.newest = newest.into();
        slots
    }

    /// Whether it goes on by the hour, whatever the clock does.
    pub fn is_hourly(&self) -> bool {
        self.is_hourly
    }

    /// An instant on the clock of the zone.
    pub fn local(&self, millis: i64) -> Option<DateTime<Tz>> {
        self.zone.timestamp_millis_opt(millis).single()
    }

    /// An instant as people read it: `2026-03-29 03:00 CEST`.
    pub fn text(&self, millis: i64) -> String {
        self.local(millis).map_or_else(String::new, |at| at.format("%Y-%m-%d %H:%M %Z").to_string())
    }

    /// The next civil time of the cron expression.
    pub(super) fn next_civil(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        // A clock that never changes has a single instant for each civil time. Croner would carry a part of a second over.
        let after = Utc.from_utc_datetime(&after.with_nanosecond(0)?);
        self.cron.find_next_occurrence(&after, false).ok().map(|next| next.naive_utc())
    }

    /// The instants of a civil time that are slots, in order.
    fn instants(&self, civil: NaiveDateTime) -> Vec<i64> {
        match self.zone.from_local_datetime(&civil) {
            MappedLocalTime::Single(at) => vec![at.timestamp_millis()],
            MappedLocalTime::Ambiguous(first, second) if self.is_hourly => {
                vec![first.timestamp_millis(), second.timestamp_millis()]
            }
            MappedLocalTime::Ambiguous(first, _) => vec![first.timestamp_millis()],
            MappedLocalTime::None if self.is_hourly => Vec::new(),
            MappedLocalTime::None => {
                let change = GapInfo::new(&civil, &self.zone).and_then(|gap| gap.end);
                change.map(|at| at.timestamp_millis()).into_iter().collect()
            }
        }
    }

    /// Whether the clock changes around an instant.
    fn changes_near(at: DateTime<Tz>) -> bool {
        let offset = |at: DateTime<Tz>| at.offset().fix();
        match (at.checked_sub_signed(CHANGE), at.checked_add_signed(CHANGE)) {
            (Some(before), Some(after)) => offset(before) != offset(after),
            _ => false,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use cupola_specs::spec::{CatchUp, Origin, Overlap};

    use super::*;

    pub(crate) fn schedule(cron: &str, timezone: &str) -> Schedule {
        Schedule {
            name: "nightly".into(),
            cron: cron.into(),
            timezone: timezone.into(),
            jobs: vec!["report".into()],
            overlap: Overlap::Skip,
            catch_up: CatchUp::Once,
            jitter_secs: 0,
            on_failure: None,
            on_regression: None,
            origin: Origin { file: String::new(), line: 1, column: 1 },
        }
    }

    pub(crate) fn utc(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    fn slots(cron: &str, zone: &str, from: &str, until: &str) -> Vec<String> {
        let table = Timetable::new(&schedule(cron, zone)).unwrap();
        let slots = table.between(utc(from), utc(until), 100).newest;
        slots.iter().map(|slot| jiff::Timestamp::from_millisecond(*slot).unwrap().to_string()).collect()
    }

    #[test]
    fn two_in_the_morning_in_berlin_is_another_utc_in_summer_and_in_winter() {
        let found = slots("0 2 * * *", "Europe/Berlin", "2026-01-10T00:00:00Z", "2026-01-11T23:00:00Z");
        assert_eq!(found, ["2026-01-10T01:00:00Z", "2026-01-11T01:00:00Z"]);
        let found = slots("0 2 * * *", "Europe/Berlin", "2026-07-10T00:30:00Z", "2026-07-11T23:00:00Z");
        assert_eq!(found, ["2026-07-11T00:00:00Z"]);
    }

    #[test]
    fn what_spring_leaves_out_fires_once_at_the_change() {
        // 29 March 2026 in Berlin and 8 March 2026 in New York: 02:00 to 03:00; 4 October 2026 on Lord Howe: 02:00 to 02:30.
        let berlin = ("Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
        for cron in ["0 2 * * *", "30 2 * * *", "*/15 2 * * *", "0 2,3 * * *"] {
            let found = slots(cron, berlin.0, berlin.1, "2026-03-29T01:00:00Z");
            assert_eq!(found, ["2026-03-29T01:00:00Z"], "{cron}");
        }
        let found = slots("30 2 * * *", berlin.0, berlin.1, berlin.2);
        assert_eq!(found, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        let found = slots("30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", "2026-03-09T12:00:00Z");
        assert_eq!(found, ["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"]);
        let found =
            slots("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T20:00:00Z", "2026-10-04T20:00:00Z");
        assert_eq!(found, ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]);
    }

    #[test]
    fn what_autumn_gives_twice_fires_once() {
        // 25 October 2026 in Berlin, 1 November 2026 in New York (01:00 to 02:00), 5 April 2026 on Lord Howe (01:30 to 02:00).
        let found = slots("0 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
        assert_eq!(found, ["2026-10-25T00:00:00Z", "2026-10-26T01:00:00Z"]);
        let found = slots("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
        assert_eq!(found, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        let found = slots("30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z");
        assert_eq!(found, ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]);
        let found =
            slots("45 1 * * *", "Australia/Lord_Howe", "2026-04-03T20:00:00Z", "2026-04-05T20:00:00Z");
        assert_eq!(found, ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]);
    }

    #[test]
    fn asked_from_within_the_doubled_hour_it_does_not_fire_again() {
        let table = Timetable::new(&schedule("30 2 * * *", "Europe/Berlin")).unwrap();
        for inside in ["2026-10-25T00:30:00Z", "2026-10-25T01:10:00Z", "2026-10-25T01:30:00Z"] {
            assert_eq!(table.next(utc(inside)), Some(utc("2026-10-26T01:30:00Z")), "{inside}");
        }
    }

    #[test]
    fn every_hour_goes_on_through_both_changes() {
        let spring = slots("0 * * * *", "Europe/Berlin", "2026-03-28T22:30:00Z", "2026-03-29T04:30:00Z");
        assert_eq!(spring.len(), 6, "{spring:?}");
        let autumn = slots("0 * * * *", "Europe/Berlin", "2026-10-24T21:30:00Z", "2026-10-25T04:30:00Z");
        assert_eq!(autumn.len(), 7, "{autumn:?}");
        let half = slots("45 * * * *", "Australia/Lord_Howe", "2026-04-04T13:50:00Z", "2026-04-04T17:00:00Z");
        assert_eq!(half, ["2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z", "2026-04-04T16:15:00Z"]);
        let minutes = slots("*/20 * * * *", "Europe/Berlin", "2026-10-25T00:10:00Z", "2026-10-25T02:10:00Z");
        assert_eq!(minutes.len(), 6, "{minutes:?}");
    }

    #[test]
    fn a_slot_is_a_whole_second_whenever_it_is_asked_for() {
        let (noon, two) = (utc("2026-01-10T12:00:00Z"), utc("2026-01-11T01:00:00Z"));
        for cron in ["0 2 * * *", "0 */13 * * *"] {
            let table = Timetable::new(&schedule(cron, "Europe/Berlin")).unwrap();
            let slot = table.next(noon).unwrap();
            assert_eq!(table.next(noon + 42), Some(slot));
            assert_eq!(table.next(slot - 1), Some(slot));
            assert!(table.next(slot).unwrap() > slot && table.next(slot + 42).unwrap() > slot);
        }
        let table = Timetable::new(&schedule("0 2 * * *", "Europe/Berlin")).unwrap();
        assert_eq!(table.next(noon + 999), Some(two));
        assert_eq!(table.upcoming(noon, 5).len(), 5);
    }

    #[test]
    fn of_very_many_slots_the_newest_are_given_and_the_others_counted() {
        let table = Timetable::new(&schedule("*/10 * * * *", "UTC")).unwrap();
        let slots = table.between(utc("2026-01-01T00:00:00Z"), utc("2026-01-02T00:00:00Z"), 100);
        assert_eq!((slots.older, slots.newest.len()), (44, 100));
        assert_eq!(slots.last_older_millis, Some(slots.newest[0] - 600_000));
    }

    #[test]
    fn what_is_no_cron_or_no_zone_is_an_error_that_says_so() {
        assert!(matches!(Timetable::new(&schedule("0 25 * * *", "UTC")), Err(ScheduleError::Cron { .. })));
        let error = Timetable::new(&schedule("0 2 * * *", "Europe/Berlim")).unwrap_err();
        assert_eq!(error.to_string(), "schedule `nightly`: there is no time zone `Europe/Berlim`");
    }
}
