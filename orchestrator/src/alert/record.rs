//! What the journal knows of alerts: what is to be told, what became of telling it, and which reports were compared.

use std::collections::BTreeMap;

use cupola_specs::spec::Webhook;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AlertKind, ReportId};
use crate::state::{Fact, Projection};

const ALERTS: &str = "alert";
const DELIVERIES: &str = "alert_delivery";
const COMPARISONS: &str = "report_comparison";

/// Records that stay, and how long younger ones do.
const KEPT: usize = 200;
const KEPT_MILLIS: i64 = 7 * 86_400_000;

/// An alert: the intent, written once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertRecord {
    /// The schedule, `spec.name`.
    pub schedule: String,
    /// What it is about.
    pub kind: AlertKind,
    /// When it was made, milliseconds since the Unix epoch.
    pub made_millis: i64,
    /// Who is told: names of secrets, never values.
    pub webhook: Webhook,
    /// What is told: [`super::Alert`] as JSON.
    pub body: Value,
}

/// How an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It is to be sent, for the first time or again.
    Pending,
    /// Its receiver took it.
    Delivered,
    /// It will not be sent again.
    Failed,
}

impl AlertState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// The state's name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// What became of telling it: the outcome of the newest try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// How the alert stands.
    pub state: AlertState,
    /// How often it was tried.
    pub tries: u32,
    /// When it was tried last, milliseconds since the Unix epoch.
    pub tried_millis: i64,
    /// How long the next try waits after that; 0 where there is none.
    pub wait_millis: i64,
    /// What came of it, without anything of the URL or the answer's text.
    pub outcome: String,
}

impl DeliveryRecord {
    /// Whether it is time to try. A clock that was set back to before the last try says nothing of how long ago that was.
    pub fn is_due(&self, now_millis: i64) -> bool {
        self.state == AlertState::Pending
            && (now_millis < self.tried_millis || now_millis - self.tried_millis >= self.wait_millis)
    }
}

/// The reports that a firing's were held against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparisonRecord {
    /// The schedule, `spec.name`.
    pub schedule: String,
    /// When they were compared, milliseconds since the Unix epoch.
    pub at_millis: i64,
    /// Each pair.
    pub reports: Vec<ComparedReport>,
}

/// A pair of reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparedReport {
    /// The step that made both.
    pub step: String,
    /// The report before.
    pub older: ReportId,
    /// The report of the firing.
    pub newer: ReportId,
    /// Metrics that were compared.
    pub compared: usize,
    /// Metrics that got worse by more than chance.
    pub worse: usize,
    /// What was not compared, and why.
    pub notes: Vec<String>,
}

impl ComparedReport {
    /// What came of it: `regression`, `no regression`, or `not compared`.
    pub fn verdict(&self) -> &'static str {
        match (self.worse, self.compared) {
            (0, 0) => "not compared",
            (0, _) => "no regression",
            _ => "regression",
        }
    }
}

/// Everything that the journal knows of alerts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AlertBook {
    /// Alerts by key.
    pub alerts: BTreeMap<String, AlertRecord>,
    /// What became of them.
    pub deliveries: BTreeMap<String, DeliveryRecord>,
    /// Comparisons by the key of the firing.
    pub comparisons: BTreeMap<String, ComparisonRecord>,
}

impl AlertBook {
    /// Reads the book; a note of a later version that can't be read is left out.
    pub fn of(projection: &Projection) -> Self {
        Self {
            alerts: read(projection, ALERTS),
            deliveries: read(projection, DELIVERIES),
            comparisons: read(projection, COMPARISONS),
        }
    }

    /// Alerts that are still to be sent, by key; nothing else is read.
    pub fn pending(projection: &Projection) -> BTreeMap<String, (AlertRecord, Option<DeliveryRecord>)> {
        let deliveries: BTreeMap<String, DeliveryRecord> = read(projection, DELIVERIES);
        let is_open =
            |key: &String| deliveries.get(key).is_none_or(|known| known.state == AlertState::Pending);
        let open = projection.notes(ALERTS).filter(|(key, _)| is_open(key));
        open.filter_map(|(key, value)| {
            let alert = AlertRecord::deserialize(value).ok()?;
            Some((key.clone(), (alert, deliveries.get(key).cloned())))
        })
        .collect()
    }

    /// How an alert stands.
    pub fn state(&self, key: &str) -> AlertState {
        self.deliveries.get(key).map_or(AlertState::Pending, |delivery| delivery.state)
    }

    /// The comparisons of a schedule, newest first.
    pub fn comparisons_of(&self, schedule: &str) -> Vec<(&String, &ComparisonRecord)> {
        let mut all: Vec<_> =
            self.comparisons.iter().filter(|(_, record)| record.schedule == schedule).collect();
        all.sort_by_key(|(_, record)| std::cmp::Reverse(record.at_millis));
        all
    }

    /// Facts that forget what nobody needs any more: alerts that are over, comparisons, both older than a week and not of the newest.
    pub fn forget_outdated(&self, now_millis: i64) -> Vec<Fact> {
        let over = self.alerts.iter().filter(|(key, _)| self.state(key) != AlertState::Pending);
        let alerts = outdated(over.map(|(key, alert)| (alert.made_millis, key)), now_millis);
        let compared = self.comparisons.iter().map(|(key, record)| (record.at_millis, key));
        let mut facts = Vec::new();
        for key in alerts {
            facts.extend([ALERTS, DELIVERIES].map(|topic| noted(topic, key, Value::Null)));
        }
        let comparisons = outdated(compared, now_millis).into_iter();
        facts.extend(comparisons.map(|key| noted(COMPARISONS, key, Value::Null)));
        facts
    }
}

impl AlertRecord {
    /// The fact that sets this record.
    pub fn fact(&self, key: &str) -> Result<Fact, serde_json::Error> {
        Ok(noted(ALERTS, key, serde_json::to_value(self)?))
    }
}

impl DeliveryRecord {
    /// The fact that sets this record.
    pub fn fact(&self, key: &str) -> Result<Fact, serde_json::Error> {
        Ok(noted(DELIVERIES, key, serde_json::to_value(self)?))
    }
}

impl ComparisonRecord {
    /// The fact that sets this record, for a firing.
    pub fn fact(&self, firing_key: &str) -> Result<Fact, serde_json::Error> {
        Ok(noted(COMPARISONS, firing_key, serde_json::to_value(self)?))
    }
}

/// The key of an alert: that of its firing and its kind. There is one alert of a kind for a firing.
pub fn alert_key(firing_key: &str, kind: AlertKind) -> String {
    format!("{firing_key}/{}", kind.as_str())
}

/// The id that a receiver sees: the same for the same key. It has no full stop, which the signature sets between its parts.
pub fn alert_id(key: &str) -> String {
    format!("alert_{}", &blake3::hash(key.as_bytes()).to_hex()[..32])
}

fn noted(topic: &str, key: &str, value: Value) -> Fact {
    Fact::Noted { topic: topic.to_owned(), key: key.to_owned(), value }
}

fn read<T: DeserializeOwned>(projection: &Projection, topic: &str) -> BTreeMap<String, T> {
    let notes = projection.notes(topic);
    notes.filter_map(|(key, value)| Some((key.clone(), T::deserialize(value).ok()?))).collect()
}

/// Keys of what is old and not of the newest.
fn outdated<'a>(all: impl Iterator<Item = (i64, &'a String)>, now_millis: i64) -> Vec<&'a String> {
    let mut all: Vec<(i64, &String)> = all.collect();
    all.sort_unstable();
    all.truncate(all.len().saturating_sub(KEPT));
    all.into_iter().filter(|(at, _)| *at < now_millis - KEPT_MILLIS).map(|(_, key)| key).collect()
}

#[cfg(test)]
mod tests {
    use cupola_specs::spec::SecretRef;
    use serde_json::json;

    use super::*;
    use crate::state::{Record, StateDir};

    fn alert(made_millis: i64) -> AlertRecord {
        AlertRecord {
            schedule: "t.nightly".into(),
            kind: AlertKind::RunFailed,
            made_millis,
            webhook: Webhook { url: SecretRef { name: "HOOK".into() }, signing_key: None },
            body: json!({}),
        }
    }

    fn delivery(state: AlertState) -> DeliveryRecord {
        DeliveryRecord { state, tries: 1, tried_millis: 100, wait_millis: 50, outcome: String::new() }
    }

    #[test]
    fn old_alerts_that_are_over_are_forgotten_and_open_young_and_newest_ones_stay() {
        let (day, mut book) = (86_400_000, AlertBook::default());
        for at in 0..300 {
            let key = format!("k{at:03}");
            book.alerts.insert(key.clone(), alert(at * day));
            let state = if at == 3 { AlertState::Pending } else { AlertState::Delivered };
            book.deliveries.insert(key, delivery(state));
        }
        let mut projection = Projection::new(&StateDir::new(std::path::Path::new("/nowhere")));
        let facts = book.forget_outdated(300 * day);
        assert_eq!(facts.len(), 2 * 99, "alert and delivery of each");
        for (seq, fact) in facts.into_iter().enumerate() {
            let Fact::Noted { key, value, .. } = &fact else { panic!("{fact:?}") };
            assert!(value.is_null() && key != "k003");
            projection.apply(&Record { seq: seq as u64 + 1, at_millis: 0, fact, offset: 0 });
        }
        assert_eq!(book.forget_outdated(50 * day).len(), 2 * 42);
    }

    #[test]
    fn a_try_is_due_after_its_wait_and_when_the_clock_was_set_back() {
        let pending = delivery(AlertState::Pending);
        let due: Vec<bool> = [99, 100, 149, 150, 9_999].iter().map(|now| pending.is_due(*now)).collect();
        assert_eq!(due, [true, false, false, true, true]);
        assert!(!delivery(AlertState::Delivered).is_due(9_999));
    }

    #[test]
    fn an_id_is_that_of_its_firing_and_kind_and_has_no_full_stop() {
        let of = |firing: &str, kind| alert_id(&alert_key(firing, kind));
        let id = of("t.nightly@2026-01-11T01:00:00Z", AlertKind::RunFailed);
        assert_eq!(id, of("t.nightly@2026-01-11T01:00:00Z", AlertKind::RunFailed));
        assert_ne!(id, of("t.nightly@2026-01-11T01:00:00Z", AlertKind::Regression));
        assert_ne!(id, of("t.nightly@2026-01-12T01:00:00Z", AlertKind::RunFailed));
        assert!(!id.contains('.') && id.len() == 38);
    }
}
