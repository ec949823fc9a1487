//! What people change: promoting by hand, approving, rejecting, rolling back. Each gives the records that change, the one that it is about first.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::decide::open_record;
use super::record::BY_HAND;
use super::{PromoteError, PromotionBook, PromotionRecord, PromotionState, Proposal, forget, saw};
use crate::state::{Fact, Projection};

/// Records that change together, and what they were made from: another process may have changed something since.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The number of the next change when it was made.
    pub order: u64,
    /// The records.
    pub records: Vec<PromotionRecord>,
}

impl Change {
    /// A change of this book.
    pub fn new(book: &PromotionBook, records: Vec<PromotionRecord>) -> Self {
        Self { order: book.next_order(), records }
    }

    /// The facts that carry it out; none where the book is another one by now.
    pub fn facts(&self, projection: &Projection) -> Result<Option<Vec<Fact>>, serde_json::Error> {
        let mut book = PromotionBook::of(projection);
        if book.next_order() != self.order {
            return Ok(None);
        }
        let mut facts = Vec::new();
        for record in &self.records {
            facts.push(record.fact()?);
            book.take(record.clone());
        }
        let specs: BTreeSet<&String> = self.records.iter().map(|record| &record.spec).collect();
        facts.extend(specs.into_iter().flat_map(|spec| book.outdated(spec)).map(forget));
        Ok(Some(facts))
    }
}

/// Who decides, when, and why.
#[derive(Debug, Clone, Copy)]
pub struct Person<'p> {
    /// Who.
    pub by: &'p str,
    /// When, milliseconds since the Unix epoch.
    pub at_millis: i64,
    /// Why; may be empty.
    pub reason: &'p str,
}

impl<'p> Person<'p> {
    fn moment(&self) -> (i64, &'p str, &'p str) {
        (self.at_millis, self.by, self.reason)
    }
}

/// Promotes a model by hand. The gate holds for hands too, and so does approval: `force` passes both, with a reason.
pub fn promote_by_hand(
    book: &PromotionBook,
    proposal: &Proposal,
    force: bool,
    person: Person<'_>,
) -> Result<Vec<PromotionRecord>, PromoteError> {
    if force && person.reason.trim().is_empty() {
        return Err(PromoteError::NoReason);
    }
    let served = book.served(&proposal.spec).map(|served| served.now);
    if let Some(served) = served.filter(|served| served.model.fingerprint == proposal.model.fingerprint) {
        let hint = "nothing changes".to_owned();
        return Err(PromoteError::WrongState {
            id: served.id.clone(),
            state: PromotionState::Promoted,
            hint,
        });
    }
    if !proposal.passes() && !force {
        let saw = proposal.gate.as_ref().map_or_else(String::new, saw);
        return Err(PromoteError::Refused { name: proposal.name.clone(), saw });
    }
    let mut record = open_record(book, proposal);
    if record.state == PromotionState::Awaiting && !force {
        let hint = format!("`cupola approve {}` promotes it", record.id);
        return Err(PromoteError::WrongState { id: record.id, state: PromotionState::Awaiting, hint });
    }
    let order = book.next_order();
    record.move_to(PromotionState::Proposed, order, (person.at_millis, person.by, BY_HAND));
    let waits = proposal.needs_approval && !force;
    let state = if waits { PromotionState::Awaiting } else { PromotionState::Promoted };
    let reason = if force { format!("forced: {}", person.reason) } else { person.reason.to_owned() };
    record.move_to(state, order, (person.at_millis, person.by, &reason));
    let mut records = vec![record];
    records.extend(superseded(book, &records[0], person));
    Ok(records)
}

/// Other proposals of the spec that wait: they were made before.
fn superseded(book: &PromotionBook, by: &PromotionRecord, person: Person<'_>) -> Vec<PromotionRecord> {
    let waiting = book.awaiting(&by.spec).filter(|waiting| waiting.id != by.id);
    let reason = format!("{} took its place", by.id);
    let moved = |waiting: &PromotionRecord| {
        let mut waiting = waiting.clone();
        waiting.move_to(PromotionState::Superseded, by.order, (person.at_millis, person.by, &reason));
        waiting
    };
    waiting.map(moved).into_iter().collect()
}

/// Approves a proposal that waits, and promotes it.
pub fn approve(
    book: &PromotionBook,
    id: Option<&str>,
    person: Person<'_>,
) -> Result<Vec<PromotionRecord>, PromoteError> {
    let mut record = waiting(book, id)?.clone();
    let order = book.next_order();
    record.move_to(PromotionState::Approved, order, person.moment());
    record.move_to(PromotionState::Promoted, order, (person.at_millis, person.by, ""));
    Ok(vec![record])
}

/// Rejects a proposal that waits: no run promotes this model any more.
pub fn reject(
    book: &PromotionBook,
    id: Option<&str>,
    person: Person<'_>,
) -> Result<Vec<PromotionRecord>, PromoteError> {
    let mut record = waiting(book, id)?.clone();
    record.move_to(PromotionState::Rejected, book.next_order(), person.moment());
    Ok(vec![record])
}

/// Goes back to the model that was served before, or to that of an earlier promotion. The newest promotion comes first: records that a power
/// failure cuts off leave a shorter way back.
pub fn roll_back(
    book: &PromotionBook,
    spec: &str,
    to: Option<&str>,
    person: Person<'_>,
) -> Result<Vec<PromotionRecord>, PromoteError> {
    let served = book.served(spec).ok_or(PromoteError::NothingServed)?;
    let target = match to {
        None => served.before.ok_or_else(|| PromoteError::NothingBefore { id: served.now.id.clone() })?,
        Some(id) => {
            let target = known(book, id)?;
            if target.state != PromotionState::Promoted || target.spec != spec {
                let hint = format!("`cupola promote {}` promotes its model by hand", target.name);
                return Err(PromoteError::WrongState { id: id.to_owned(), state: target.state, hint });
            }
            target
        }
    };
    let above = book.standing(spec).into_iter().take_while(|record| record.id != target.id);
    let records: Vec<PromotionRecord> = above
        .zip(book.next_order()..)
        .map(|(record, order)| {
            let mut record = record.clone();
            record.move_to(PromotionState::RolledBack, order, person.moment());
            record
        })
        .collect();
    if records.is_empty() {
        let hint = "nothing changes".to_owned();
        return Err(PromoteError::WrongState {
            id: target.id.clone(),
            state: PromotionState::Promoted,
            hint,
        });
    }
    Ok(records)
}

/// The record of an id.
fn known<'b>(book: &'b PromotionBook, id: &str) -> Result<&'b PromotionRecord, PromoteError> {
    book.records.get(id).ok_or_else(|| {
        let mut newest: Vec<&PromotionRecord> = book.records.values().collect();
        newest.sort_by_key(|record| std::cmp::Reverse(record.order));
        let ids: Vec<&str> = newest.iter().take(5).map(|record| record.id.as_str()).collect();
        let hint = if ids.is_empty() {
            "there is none yet".to_owned()
        } else {
            format!("the newest are {}", ids.join(", "))
        };
        PromoteError::Unknown { id: id.to_owned(), hint }
    })
}

/// The proposal that waits: the named one, or the only one.
fn waiting<'b>(book: &'b PromotionBook, id: Option<&str>) -> Result<&'b PromotionRecord, PromoteError> {
    if let Some(id) = id {
        let record = known(book, id)?;
        if record.state == PromotionState::Awaiting {
            return Ok(record);
        }
        let hint = match record.state {
            PromotionState::Refused => {
                "the gate refused it; `cupola promote --force --reason TEXT` promotes it all the same"
            }
            _ => "only what awaits approval can be approved or rejected",
        };
        let (id, state) = (id.to_owned(), record.state);
        return Err(PromoteError::WrongState { id, state, hint: hint.to_owned() });
    }
    let all: Vec<&PromotionRecord> =
        book.specs().into_iter().filter_map(|spec| book.awaiting(spec)).collect();
    match all[..] {
        [] => Err(PromoteError::NothingAwaits),
        [one] => Ok(one),
        _ => {
            let ids: Vec<&str> = all.iter().map(|record| record.id.as_str()).collect();
            Err(PromoteError::Ambiguous { what: "several proposals await approval", ids: ids.join(", ") })
        }
    }
}
