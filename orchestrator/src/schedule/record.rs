//! What the journal knows of schedules: whether each is paused, and what became of each slot.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::state::{Fact, Projection, RunRow};

const SCHEDULES: &str = "schedule";
const FIRINGS: &str = "schedule_firing";

/// Firings of a schedule that stay, and how long younger ones do: a clock that is set back by less finds what has fired.
const KEPT: usize = 200;
const KEPT_MILLIS: i64 = 7 * 86_400_000;

/// A schedule in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRecord {
    /// The spec's file.
    pub spec: PathBuf,
    /// Whether it is paused.
    pub paused: bool,
    /// Slots up to here are nobody's business: when it was first seen, or resumed, or when the clock was set back to before that.
    /// Milliseconds since the Unix epoch.
    pub since_millis: i64,
}

/// What became of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FiringRecord {
    /// The schedule, `spec.name`.
    pub schedule: String,
    /// The slot, or the moment of a manual firing; milliseconds since the Unix epoch.
    pub slot_millis: i64,
    /// When it was recorded.
    pub recorded_millis: i64,
    /// Whether a user fired it.
    pub manual: bool,
    /// How it stands.
    pub state: FiringState,
    /// Why it was skipped, or for how many missed slots it stands.
    pub note: String,
    /// The run that it led to.
    pub run: Option<String>,
    /// The exit code of its process.
    pub exit_code: Option<i32>,
    /// The newest run of its spec when it was started: a newer one is its own.
    #[serde(default)]
    pub run_before: Option<String>,
    /// Whether it was asked to stop, in favour of a later slot.
    #[serde(default)]
    pub is_cancelled: bool,
}

/// How a firing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FiringState {
    /// It waits for its turn.
    Queued,
    /// Its run goes on.
    Started,
    /// Its run succeeded.
    Succeeded,
    /// Its run failed.
    Failed,
    /// It was stopped before its end.
    Cancelled,
    /// It did not run.
    Skipped,
}

impl FiringState {
    /// Whether it is still to run or runs.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Started)
    }

    /// The state's name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

/// Everything that the journal knows of schedules.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScheduleBook {
    /// Schedules by full name.
    pub schedules: BTreeMap<String, ScheduleRecord>,
    /// Firings by key.
    pub firings: BTreeMap<String, FiringRecord>,
}

impl ScheduleBook {
    /// Reads the book; a note of a later version that can't be read is left out.
    pub fn of(projection: &Projection) -> Self {
        let schedules = projection.notes(SCHEDULES);
        let firings = projection.notes(FIRINGS);
        Self {
            schedules: schedules
                .filter_map(|(key, value)| Some((key.clone(), serde_json::from_value(value.clone()).ok()?)))
                .collect(),
            firings: firings
                .filter_map(|(key, value)| Some((key.clone(), serde_json::from_value(value.clone()).ok()?)))
                .collect(),
        }
    }

    /// Firings of a schedule, oldest first.
    pub fn firings_of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = (&'a String, &'a FiringRecord)> {
        self.firings.iter().filter(move |(_, firing)| firing.schedule == id)
    }

    /// Up to where the slots of a schedule are taken care of, as seen at `now_millis`: records of a time that is still to come are of a clock
    /// that was set back, and say nothing of what lies before them.
    pub fn handled_millis(&self, id: &str, now_millis: i64) -> Option<i64> {
        let since = self.schedules.get(id)?.since_millis;
        let slots =
            self.firings_of(id).filter(|(_, firing)| !firing.manual).map(|(_, firing)| firing.slot_millis);
        Some(slots.filter(|slot| *slot <= now_millis).fold(since, i64::max))
    }

    /// Whether a firing of the schedule that no user fired runs or waits.
    pub fn is_busy(&self, id: &str) -> bool {
        self.firings_of(id).any(|(_, firing)| firing.state.is_open() && !firing.manual)
    }

    /// Puts a firing in, in place of what it says of the same slot.
    pub fn take(&mut self, firing: FiringRecord) {
        self.firings.insert(firing.key(), firing);
    }

    /// Keys of firings that nobody needs any more: those that are over, older than a week, and not of the newest of their schedule.
    pub fn outdated(&self, id: &str, now_millis: i64) -> Vec<String> {
        let mut over: Vec<(&String, &FiringRecord)> =
            self.firings_of(id).filter(|(_, firing)| !firing.state.is_open()).collect();
        over.sort_by_key(|(_, firing)| firing.slot_millis);
        over.truncate(over.len().saturating_sub(KEPT));
        let old = over.into_iter().filter(|(_, firing)| firing.slot_millis < now_millis - KEPT_MILLIS);
        old.map(|(key, _)| key.clone()).collect()
    }
}

impl ScheduleRecord {
    /// The fact that sets this record.
    pub fn fact(&self, id: &str) -> Result<Fact, serde_json::Error> {
        let value = serde_json::to_value(self)?;
        Ok(Fact::Noted { topic: SCHEDULES.to_owned(), key: id.to_owned(), value })
    }
}

impl FiringRecord {
    /// The fact that sets this record.
    pub fn fact(&self) -> Result<Fact, serde_json::Error> {
        Ok(Fact::Noted { topic: FIRINGS.to_owned(), key: self.key(), value: serde_json::to_value(self)? })
    }

    /// Its idempotency key.
    pub fn key(&self) -> String {
        firing_key(&self.schedule, self.slot_millis, self.manual)
    }

    /// The name of its spec.
    pub fn spec_name(&self) -> &str {
        self.schedule.rsplit_once('.').map_or("", |(spec, _)| spec)
    }

    /// The run that its process made: the newest of its spec, where that came after it was started.
    pub fn newer_run<'a>(&self, projection: &'a Projection) -> Option<&'a RunRow> {
        let newest = projection.latest_run(Some(self.spec_name()))?;
        (self.run_before.as_ref() != Some(&newest.id)).then_some(newest)
    }
}

/// The fact that deletes a firing's record; the journal keeps what it said.
pub fn forget_firing(key: String) -> Fact {
    Fact::Noted { topic: FIRINGS.to_owned(), key, value: serde_json::Value::Null }
}

/// The full name of a schedule: `spec.schedule`.
pub fn schedule_id(spec_name: &str, schedule: &str) -> String {
    format!("{spec_name}.{schedule}")
}

/// The idempotency key of a slot: `spec.schedule@2026-03-29T01:00:00Z`.
pub fn firing_key(id: &str, slot_millis: i64, manual: bool) -> String {
    let slot =
        jiff::Timestamp::from_millisecond(slot_millis).map_or(slot_millis.to_string(), |at| at.to_string());
    format!("{id}@{slot}{}", if manual { "-manual" } else { "" })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn firing(id: &str, slot_millis: i64, state: FiringState) -> FiringRecord {
        FiringRecord {
            schedule: id.to_owned(),
            slot_millis,
            recorded_millis: slot_millis,
            manual: false,
            state,
            note: String::new(),
            run: None,
            exit_code: None,
            run_before: None,
            is_cancelled: false,
        }
    }

    #[test]
    fn old_firings_are_forgotten_and_open_young_and_newest_ones_stay() {
        let day = 86_400_000;
        let mut book = ScheduleBook::default();
        for slot in 0..300 {
            book.take(firing("t.s", slot * day, FiringState::Succeeded));
        }
        book.take(firing("t.s", 5 * day, FiringState::Started));
        assert_eq!(book.outdated("t.s", 300 * day).len(), 99);
        assert_eq!(book.outdated("t.s", 50 * day).len(), 42);
        assert!(!book.outdated("t.s", 300 * day).contains(&firing_key("t.s", 5 * day, false)));
    }

    #[test]
    fn a_record_of_a_time_to_come_hides_no_slot_before_it() {
        let mut book = ScheduleBook::default();
        let record = ScheduleRecord { spec: PathBuf::from("t.yaml"), paused: false, since_millis: 10 };
        book.schedules.insert("t.s".to_owned(), record);
        book.take(firing("t.s", 100, FiringState::Succeeded));
        book.take(firing("t.s", 900, FiringState::Skipped));
        assert_eq!(book.handled_millis("t.s", 500), Some(100));
        assert_eq!(book.handled_millis("t.s", 900), Some(900));
    }

    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let text = r#"{"schedule":"t.s","slot_millis":1,"recorded_millis":1,"manual":false,"state":"started","note":"","run":null,"exit_code":null}"#;
        assert_eq!(serde_json::from_str::<FiringRecord>(text).unwrap().run_before, None);
    }
}
