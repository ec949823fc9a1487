//! Cron and time zone to instants.

use std::str::FromStr;

use chrono::{DateTime, FixedOffset, Offset, TimeZone};
use chrono_tz::Tz;
use croner::Cron;
use cupola_specs::spec::Schedule;

use super::ScheduleError;

/// The instants of a schedule.
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: Tz,
    /// Whether it goes on by the hour, so that an hour that autumn repeats counts twice.
    hourly: bool,
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
        let hourly = schedule.cron.split_whitespace().nth(1).is_some_and(|hour| hour.starts_with('*'));
        Ok(Self { cron, zone, hourly })
    }

    /// The first slot after an instant; milliseconds since the Unix epoch. None where there is none in the years that cron can see.
    pub fn next(&self, after_millis: i64) -> Option<i64> {
        // Slots are whole seconds; croner would carry a fraction of the start into them.
        let after_millis = after_millis.div_euclid(1000) * 1000;
        if self.hourly {
            return self.next_by_the_hour(after_millis);
        }
        let mut from = self.local(after_millis)?;
        // croner works in civil time: around a change of the clock it may answer with an instant that is not later.
        for _ in 0..4 {
            let slot = self.cron.find_next_occurrence(&from, false).ok()?.timestamp_millis();
            if slot > after_millis {
                return Some(slot);
            }
            from = self.local(from.timestamp_millis() + 3_600_000)?;
        }
        None
    }

    /// The slots after one instant, up to and with another: the newest `most` of them.
    pub fn between(&self, after_millis: i64, until_millis: i64, most: usize) -> Vec<i64> {
        let mut slots = std::collections::VecDeque::new();
        let mut from = after_millis;
        while let Some(slot) = self.next(from).filter(|slot| *slot <= until_millis) {
            if slots.len() == most {
                slots.pop_front();
            }
            slots.push_back(slot);
            from = slot;
        }
        slots.into()
    }

    /// As [`Timetable::next`], with the clock that is valid at each instant: no slot is lost or doubled where it changes.
    fn next_by_the_hour(&self, after_millis: i64) -> Option<i64> {
        let mut offset = self.offset(after_millis)?;
        let (mut from, mut valid_from) = (after_millis, after_millis);
        for _ in 0..8 {
            let local = offset.timestamp_millis_opt(from).single()?;
            let slot = self.cron.find_next_occurrence(&local, false).ok()?.timestamp_millis();
            if self.offset(slot)? == offset {
                return Some(slot);
            }
            // The clock changes before the slot: search on by the new clock, from just before its first instant.
            valid_from = self.change_between(valid_from, slot, offset)?;
            offset = self.offset(valid_from)?;
            from = valid_from - 1000;
        }
        None
    }

    /// The first instant after `low`, where `offset` is valid, at which another offset is; at `high` one is.
    fn change_between(&self, mut low: i64, mut high: i64, offset: FixedOffset) -> Option<i64> {
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.offset(middle)? == offset {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(high)
    }

    fn offset(&self, millis: i64) -> Option<FixedOffset> {
        Some(self.local(millis)?.offset().fix())
    }

    fn local(&self, millis: i64) -> Option<DateTime<Tz>> {
        self.zone.timestamp_millis_opt(millis).single()
    }
}

#[cfg(test)]
pub(super) mod tests {
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
            origin: Origin { file: String::new(), line: 1, column: 1 },
        }
    }

    pub(crate) fn utc(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    fn slots(cron: &str, zone: &str, from: &str, until: &str) -> Vec<String> {
        let table = Timetable::new(&schedule(cron, zone)).unwrap();
        let slots = table.between(utc(from), utc(until), 100);
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
    fn the_night_without_two_o_clock_fires_once_at_the_change() {
        // 29 March 2026: 02:00 to 03:00 does not exist in Berlin.
        let found = slots("0 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
        assert_eq!(found, ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]);
        let found = slots("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("2026-03-29T01:"), "{found:?}");
    }

    #[test]
    fn the_night_with_two_o_clock_twice_fires_once() {
        // 25 October 2026: 02:00 to 03:00 happens twice in Berlin.
        let found = slots("0 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
        assert_eq!(found, ["2026-10-25T00:00:00Z", "2026-10-26T01:00:00Z"]);
        let found = slots("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
        assert_eq!(found, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn every_hour_goes_on_through_both_changes() {
        let spring = slots("0 * * * *", "Europe/Berlin", "2026-03-28T22:30:00Z", "2026-03-29T04:30:00Z");
        assert_eq!(spring.len(), 6, "{spring:?}");
        let autumn = slots("0 * * * *", "Europe/Berlin", "2026-10-24T21:30:00Z", "2026-10-25T04:30:00Z");
        assert_eq!(autumn.len(), 7, "{autumn:?}");
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
    }

    #[test]
    fn what_is_no_cron_or_no_zone_is_an_error_that_says_so() {
        assert!(matches!(Timetable::new(&schedule("0 25 * * *", "UTC")), Err(ScheduleError::Cron { .. })));
        let error = Timetable::new(&schedule("0 2 * * *", "Europe/Berlim")).unwrap_err();
        assert_eq!(error.to_string(), "schedule `nightly`: there is no time zone `Europe/Berlim`");
    }
}
