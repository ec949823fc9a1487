//! What the journal knows of promotions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cupola_specs::gate::GateOutcome;
use serde::{Deserialize, Serialize};

use crate::state::{Fact, Projection};

const PROMOTIONS: &str = "promotion";
/// The reason of a proposal that a person made.
pub(super) const BY_HAND: &str = "by hand";

/// Records of a spec that stay, beside those that somebody may go back to.
const KEPT: usize = 200;

/// One proposal's life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromotionRecord {
    /// Its id: the served name and a number.
    pub id: String,
    /// The spec that serves it.
    pub spec: String,
    /// What clients call the model.
    pub name: String,
    /// The model.
    pub model: ModelRecord,
    /// The run that proposed it last.
    pub run: String,
    /// Fingerprints of the reports that the gate saw, by eval job.
    pub reports: BTreeMap<String, String>,
    /// The gate and what it gave; none where the spec has none.
    pub gate: Option<GateRecord>,
    /// Whether a person decides too.
    pub needs_approval: bool,
    /// How it stands.
    pub state: PromotionState,
    /// Which change of the folder's promotions its last one was: 1, 2, …
    pub order: u64,
    /// What happened to it, oldest first.
    pub history: Vec<Moment>,
}

/// A model that can be served.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ModelRecord {
    /// The step that made it; empty for a folder from outside.
    pub step: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Its folder, below the state folder where it lies there.
    pub folder: PathBuf,
    /// blake3 of its `tokenizer.json`; empty where it has none.
    pub tokenizer: String,
    /// blake3 of its chat template; empty where it has none.
    pub template: String,
}

/// A gate and what it gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateRecord {
    /// The expression.
    pub expression: String,
    /// What it gave, and the numbers that it saw.
    pub outcome: GateOutcome,
}

/// What happened to a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// What.
    pub state: PromotionState,
    /// When, milliseconds since the Unix epoch.
    pub at_millis: i64,
    /// Who.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
}

/// How a proposal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromotionState {
    /// A run or a person proposed it.
    Proposed,
    /// The gate did not let it pass.
    Refused,
    /// It waits for a person.
    Awaiting,
    /// A person approved it.
    Approved,
    /// It is served, or was until a later one was promoted.
    Promoted,
    /// A person rejected it.
    Rejected,
    /// A later proposal took its place while it waited.
    Superseded,
    /// It was served, and a person went back to the one before.
    RolledBack,
}

impl PromotionState {
    /// The state's name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Refused => "refused",
            Self::Awaiting => "awaiting approval",
            Self::Approved => "approved",
            Self::Promoted => "promoted",
            Self::Rejected => "rejected",
            Self::Superseded => "superseded",
            Self::RolledBack => "rolled back",
        }
    }
}

/// The newest promotion that stands, and the one before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ServedBy<'b> {
    /// What is served.
    pub now: &'b PromotionRecord,
    /// What a rollback goes back to.
    pub before: Option<&'b PromotionRecord>,
}

impl PromotionRecord {
    /// Notes what happens to it.
    pub(super) fn move_to(
        &mut self,
        state: PromotionState,
        order: u64,
        (at_millis, by, reason): (i64, &str, &str),
    ) {
        self.state = state;
        self.order = order;
        let (by, reason) = (by.to_owned(), reason.to_owned());
        self.history.push(Moment { state, at_millis, by, reason });
    }

    /// Whether a person proposed it, not a run.
    pub fn is_by_hand(&self) -> bool {
        let proposed = self.history.iter().rev().find(|moment| moment.state == PromotionState::Proposed);
        proposed.is_some_and(|moment| moment.reason == BY_HAND)
    }

    /// The newest thing that happened to it.
    pub fn last(&self) -> Option<&Moment> {
        self.history.last()
    }

    /// The fact that sets this record.
    pub fn fact(&self) -> Result<Fact, serde_json::Error> {
        let value = serde_json::to_value(self)?;
        Ok(Fact::Noted { topic: PROMOTIONS.to_owned(), key: self.id.clone(), value })
    }
}

/// Everything that the journal knows of promotions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PromotionBook {
    /// Records by id.
    pub records: BTreeMap<String, PromotionRecord>,
}

impl PromotionBook {
    /// Reads the book; a note of a later version that can't be read is left out.
    pub fn of(projection: &Projection) -> Self {
        let notes = projection.notes(PROMOTIONS);
        let records =
            notes.filter_map(|(key, value)| Some((key.clone(), PromotionRecord::deserialize(value).ok()?)));
        Self { records: records.collect() }
    }

    /// Records of a spec, the newest change first.
    pub fn of_spec<'a>(&'a self, spec: &str) -> Vec<&'a PromotionRecord> {
        let mut found: Vec<&PromotionRecord> =
            self.records.values().filter(|record| record.spec == spec).collect();
        found.sort_by_key(|record| std::cmp::Reverse(record.order));
        found
    }

    /// Specs that have records.
    pub fn specs(&self) -> BTreeSet<&str> {
        self.records.values().map(|record| record.spec.as_str()).collect()
    }

    /// The promotions of a spec that stand, newest first.
    pub fn standing<'a>(&'a self, spec: &str) -> Vec<&'a PromotionRecord> {
        let mut found = self.of_spec(spec);
        found.retain(|record| record.state == PromotionState::Promoted);
        found
    }

    /// What a spec serves, and what a rollback goes back to: the newest promotion below it of another model.
    pub fn served(&self, spec: &str) -> Option<ServedBy<'_>> {
        let standing = self.standing(spec);
        let now = *standing.first()?;
        let other = |record: &&&PromotionRecord| record.model.fingerprint != now.model.fingerprint;
        Some(ServedBy { now, before: standing.iter().find(other).copied() })
    }

    /// What was last said of a model under a spec by being served or taken back. What a gate refuses or what waits says nothing of that.
    pub fn last_word(&self, spec: &str, fingerprint: &str) -> Option<&PromotionRecord> {
        let is_word = |record: &&PromotionRecord| {
            matches!(
                record.state,
                PromotionState::Promoted | PromotionState::RolledBack | PromotionState::Rejected
            )
        };
        let of_model = |record: &&PromotionRecord| record.model.fingerprint == fingerprint;
        self.of_spec(spec).into_iter().filter(of_model).find(is_word)
    }

    /// The newest proposal of a model under a spec.
    pub fn newest(&self, spec: &str, fingerprint: &str) -> Option<&PromotionRecord> {
        self.of_spec(spec).into_iter().find(|record| record.model.fingerprint == fingerprint)
    }

    /// The proposal of a spec that waits for a person.
    pub fn awaiting(&self, spec: &str) -> Option<&PromotionRecord> {
        self.of_spec(spec).into_iter().find(|record| record.state == PromotionState::Awaiting)
    }

    /// The number of the next change.
    pub fn next_order(&self) -> u64 {
        self.records.values().map(|record| record.order).max().unwrap_or(0) + 1
    }

    /// The id of the next record.
    pub fn next_id(&self, name: &str) -> String {
        let number = |record: &PromotionRecord| record.id.rsplit_once('-')?.1.parse::<u64>().ok();
        let last = self.records.values().filter_map(number).max().unwrap_or(0);
        format!("{name}-{}", last + 1)
    }

    /// Puts a record in, in place of what it was before.
    pub fn take(&mut self, record: PromotionRecord) {
        self.records.insert(record.id.clone(), record);
    }

    /// Fingerprints that must stay in the store: what is served, what a rollback goes back to, what waits for a person, and their reports.
    pub fn needed(&self) -> BTreeSet<String> {
        let mut needed = BTreeSet::new();
        for spec in self.specs() {
            let served = self.served(spec);
            let kept = [
                served.map(|served| served.now),
                served.and_then(|served| served.before),
                self.awaiting(spec),
            ];
            for record in kept.into_iter().flatten() {
                needed.insert(record.model.fingerprint.clone());
                needed.extend(record.reports.values().cloned());
            }
        }
        needed
    }

    /// Ids that nobody needs any more: of each spec those behind its newest, unless they stand or wait.
    pub fn outdated(&self, spec: &str) -> Vec<String> {
        let old = self.of_spec(spec).into_iter().skip(KEPT);
        let is_over = |record: &&PromotionRecord| {
            !matches!(record.state, PromotionState::Promoted | PromotionState::Awaiting)
                || self.standing(spec).iter().skip(KEPT).any(|old| old.id == record.id)
        };
        old.filter(is_over).map(|record| record.id.clone()).collect()
    }
}

/// The fact that deletes a record; the journal keeps what it said.
pub fn forget(id: String) -> Fact {
    Fact::Noted { topic: PROMOTIONS.to_owned(), key: id, value: serde_json::Value::Null }
}
