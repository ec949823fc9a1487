//! What the journal knows of schedules: whether each is paused, and what became of each slot.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::state::{Fact, Projection};

const SCHEDULES: &str = "schedule";
const FIRINGS: &str = "schedule_firing";

/// A schedule in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRecord {
    /// The spec's file.
    pub spec: PathBuf,
    /// Whether it is paused.
    pub paused: bool,
    /// Slots up to here are nobody's business: when it was first seen, or resumed. Milliseconds since the Unix epoch.
    pub since_millis: i64,
}

/// What became of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The exit code of that run.
    pub exit_code: Option<i32>,
}

/// How a firing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

    /// Up to where the slots of a schedule are taken care of.
    pub fn handled_millis(&self, id: &str) -> Option<i64> {
        let since = self.schedules.get(id)?.since_millis;
        let slots =
            self.firings_of(id).filter(|(_, firing)| !firing.manual).map(|(_, firing)| firing.slot_millis);
        Some(slots.fold(since, i64::max))
    }

    /// Whether a firing of the schedule that no user fired runs or waits.
    pub fn is_busy(&self, id: &str) -> bool {
        self.firings_of(id).any(|(_, firing)| firing.state.is_open() && !firing.manual)
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
        let key = firing_key(&self.schedule, self.slot_millis, self.manual);
        Ok(Fact::Noted { topic: FIRINGS.to_owned(), key, value: serde_json::to_value(self)? })
    }
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
