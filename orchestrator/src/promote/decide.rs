//! What becomes of a model that a run made or found: a pure function of the book and the proposal.

use std::collections::BTreeMap;

use super::{GateRecord, ModelRecord, PromotionBook, PromotionRecord, PromotionState, Rules};

/// Moments of a record that stay: a gate that refuses each night must not grow it without end.
const MOMENTS: usize = 40;

/// A model that is proposed.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The spec.
    pub spec: String,
    /// What clients call the model.
    pub name: String,
    /// The model.
    pub model: ModelRecord,
    /// The run.
    pub run: String,
    /// Fingerprints of its reports by eval job.
    pub reports: BTreeMap<String, String>,
    /// The gate and what it gave.
    pub gate: Option<GateRecord>,
    /// Whether a person decides too.
    pub needs_approval: bool,
}

impl Proposal {
    /// Whether the gate lets it pass.
    pub fn passes(&self) -> bool {
        self.gate.as_ref().is_none_or(|gate| gate.outcome.passed)
    }
}

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The model is served already, by this promotion.
    Served(PromotionRecord),
    /// A person rolled it back or rejected it: it stays so until a person promotes it.
    Held(PromotionRecord),
    /// It was decided now. The first record is that of the proposal, others are those that it superseded.
    Decided(Vec<PromotionRecord>),
}

/// Decides.
pub fn decide(book: &PromotionBook, proposal: &Proposal, (at_millis, by): (i64, &str)) -> Decision {
    let spec = &proposal.spec;
    if let Some(word) = last_word(book, spec, &proposal.model.fingerprint) {
        return word;
    }
    let mut record = open_record(book, proposal);
    let mut order = book.next_order();
    let state = match (proposal.passes(), proposal.needs_approval) {
        (false, _) => PromotionState::Refused,
        (true, true) => PromotionState::Awaiting,
        (true, false) => PromotionState::Promoted,
    };
    let reason = format!("run {}", proposal.run);
    if record.state == state && !record.history.is_empty() && state != PromotionState::Promoted {
        // The same as last time: only what was seen is news.
        record.order = order;
    } else {
        record.move_to(PromotionState::Proposed, order, (at_millis, by, &reason));
        record.move_to(state, order, (at_millis, by, ""));
    }
    let excess = record.history.len().saturating_sub(MOMENTS);
    record.history.drain(..excess);
    let mut records = vec![record];
    for old in book.of_spec(spec) {
        if old.state == PromotionState::Awaiting
            && old.id != records[0].id
            && state != PromotionState::Refused
        {
            order += 1;
            let mut old = old.clone();
            let reason = format!("{} took its place", records[0].id);
            old.move_to(PromotionState::Superseded, order, (at_millis, by, &reason));
            records.push(old);
        }
    }
    Decision::Decided(records)
}

/// What is said of a model already, that no run may change: it is served, a person rolled it back or rejected it, or promoted another one
/// by hand after it.
pub fn last_word(book: &PromotionBook, spec: &str, fingerprint: &str) -> Option<Decision> {
    let served = book.served(spec).map(|served| served.now);
    if let Some(served) = served.filter(|served| served.model.fingerprint == fingerprint) {
        return Some(Decision::Served(served.clone()));
    }
    let record = book.last_word(spec, fingerprint)?;
    match record.state {
        PromotionState::RolledBack | PromotionState::Rejected => Some(Decision::Held(record.clone())),
        PromotionState::Promoted => served.filter(|served| served.is_by_hand()).cloned().map(Decision::Held),
        _ => None,
    }
}

/// The record that goes on, where the gate refused the model before or it waits; else a new one.
pub(super) fn open_record(book: &PromotionBook, proposal: &Proposal) -> PromotionRecord {
    let is_open = |record: &&PromotionRecord| {
        matches!(record.state, PromotionState::Refused | PromotionState::Awaiting)
    };
    let known = book.newest(&proposal.spec, &proposal.model.fingerprint).filter(is_open);
    let (id, state, history) = match known {
        Some(known) => (known.id.clone(), known.state, known.history.clone()),
        None => (book.next_id(&proposal.name), PromotionState::Proposed, Vec::new()),
    };
    PromotionRecord {
        id,
        spec: proposal.spec.clone(),
        name: proposal.name.clone(),
        model: proposal.model.clone(),
        run: proposal.run.clone(),
        reports: proposal.reports.clone(),
        gate: proposal.gate.clone(),
        needs_approval: proposal.needs_approval,
        state,
        order: 0,
        history,
    }
}

/// Whether nothing is left to decide about a model: it is served, held back, or this very run was decided by these rules.
pub fn is_settled(book: &PromotionBook, rules: &Rules, fingerprint: &str, run: &str) -> bool {
    if last_word(book, &rules.spec, fingerprint).is_some() {
        return true;
    }
    book.newest(&rules.spec, fingerprint).is_some_and(|record| {
        let expression = record.gate.as_ref().map(|gate| gate.expression.as_str());
        let is_same = expression == rules.promote_if.as_deref()
            && record.needs_approval == (rules.approval == cupola_specs::spec::Approval::Required);
        record.run == run && is_same
    })
}
