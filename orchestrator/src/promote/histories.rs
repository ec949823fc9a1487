//! Random histories of runs, people and power failures: what is served is always what was promoted last and not rolled back.

use std::collections::{BTreeMap, BTreeSet};

use cupola_specs::gate::GateOutcome;
use proptest::prelude::*;

use super::*;
use crate::state::{MemoryFile, Projection, State, StateDir, StateError, read_memory_at};

const SPEC: &str = "t";

/// What happens.
#[derive(Debug, Clone)]
enum Event {
    /// A run proposes a model.
    Run { model: u8, passes: bool, needs_approval: bool },
    /// A person promotes a model by hand.
    Promote { model: u8, passes: bool, force: bool },
    /// A person approves what waits.
    Approve,
    /// A person rejects what waits.
    Reject,
    /// A person goes back.
    Rollback,
    /// A person goes back to one of the promotions that there were.
    RollbackTo(u8),
    /// The power fails at the next flush, which keeps this share of what was on its way.
    PowerFails(f64),
    /// The process ends before `served.json` is written.
    Ends,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let model = 0..5_u8;
    let one = prop_oneof![
        6 => (model.clone(), any::<bool>(), prop::bool::weighted(0.3))
            .prop_map(|(model, passes, needs_approval)| Event::Run { model, passes, needs_approval }),
        2 => (model, any::<bool>(), any::<bool>()).prop_map(|(model, passes, force)| Event::Promote { model, passes, force }),
        2 => Just(Event::Approve),
        1 => Just(Event::Reject),
        3 => Just(Event::Rollback),
        1 => (0..40_u8).prop_map(Event::RollbackTo),
        1 => (0.0..1.0).prop_map(Event::PowerFails),
        1 => Just(Event::Ends),
    ];
    prop::collection::vec(one, 1..60)
}

fn proposal(model: u8, passes: bool, needs_approval: bool, run: usize) -> Proposal {
    let outcome = GateOutcome { passed: passes, ..GateOutcome::default() };
    Proposal {
        spec: SPEC.to_owned(),
        name: "aligned".to_owned(),
        model: ModelRecord { fingerprint: format!("model {model}"), ..ModelRecord::default() },
        run: format!("t-{run}"),
        reports: BTreeMap::from([("report".to_owned(), format!("report {model}"))]),
        gate: Some(GateRecord { expression: "x".to_owned(), outcome }),
        needs_approval,
    }
}

/// The house with what must be true of it, kept apart from it.
struct House {
    dir: StateDir,
    file: MemoryFile,
    state: Option<State>,
    /// Promotions that stand, oldest first: id and model.
    stack: Vec<(String, String)>,
    /// Models that only a person may promote again.
    held: BTreeSet<String>,
    runs: usize,
}

impl House {
    fn new(folder: &std::path::Path) -> Self {
        let (dir, file) = (StateDir::new(folder), MemoryFile::default());
        let state = Some(State::open_memory(&dir, file.clone()).unwrap());
        Self { dir, file, state, stack: Vec::new(), held: BTreeSet::new(), runs: 0 }
    }

    fn projection(&self) -> &Projection {
        self.state.as_ref().unwrap().projection()
    }

    fn book(&self) -> PromotionBook {
        PromotionBook::of(self.projection())
    }

    /// Records a change; whether it was acknowledged.
    fn change(&mut self, records: Vec<PromotionRecord>) -> bool {
        let facts = Change::new(&self.book(), records).facts(self.projection()).unwrap().unwrap();
        match self.state.as_mut().unwrap().record(facts) {
            Ok(()) => true,
            Err(StateError::Io { .. } | StateError::Poisoned { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// The power comes back: what the journal has is what counts from here on.
    fn restart(&mut self, share: f64) {
        self.state = None;
        self.file.restart(share);
        self.state = Some(State::open_memory(&self.dir, self.file.clone()).unwrap());
        self.learn();
    }

    /// Of a change that was not acknowledged a part may be there: any first part of it is a state that people may have made.
    fn learn(&mut self) {
        let book = self.book();
        let mut standing = book.standing(SPEC);
        standing.reverse();
        self.stack =
            standing.iter().map(|record| (record.id.clone(), record.model.fingerprint.clone())).collect();
        let models = (0..5).map(|model| format!("model {model}"));
        let is_held = |model: &String| {
            let last = book.last_word(SPEC, model).map(|record| record.state);
            matches!(last, Some(PromotionState::RolledBack | PromotionState::Rejected))
        };
        self.held = models.filter(is_held).collect();
    }

    fn serves(&self) -> Option<&(String, String)> {
        self.stack.last()
    }

    fn happen(&mut self, event: &Event) -> Result<(), TestCaseError> {
        let person = Person { by: "anna", at_millis: 7, reason: "because" };
        match event {
            Event::Run { model, passes, needs_approval } => {
                self.runs += 1;
                self.run(&proposal(*model, *passes, *needs_approval, self.runs))
            }
            Event::Promote { model, passes, force } => {
                let proposal = proposal(*model, *passes, false, self.runs);
                let fingerprint = proposal.model.fingerprint.clone();
                let Ok(records) = promote_by_hand(&self.book(), &proposal, *force, person) else {
                    let is_served = self.serves().is_some_and(|(_, served)| *served == fingerprint);
                    let waits = self.book().awaiting(SPEC).is_some();
                    prop_assert!(is_served || (!passes && !force) || (waits && !force));
                    return Ok(());
                };
                prop_assert!(*passes || *force);
                self.held.remove(&fingerprint);
                self.stack.push((records[0].id.clone(), fingerprint));
                self.change(records);
                Ok(())
            }
            Event::Approve => {
                let Ok(records) = approve(&self.book(), None, person) else { return Ok(()) };
                self.held.remove(&records[0].model.fingerprint);
                self.stack.push((records[0].id.clone(), records[0].model.fingerprint.clone()));
                self.change(records);
                Ok(())
            }
            Event::Reject => {
                let Ok(records) = reject(&self.book(), None, person) else { return Ok(()) };
                self.held.insert(records[0].model.fingerprint.clone());
                self.change(records);
                Ok(())
            }
            Event::Rollback => self.roll_back(None, person),
            Event::RollbackTo(id) => self.roll_back(Some(&format!("aligned-{id}")), person),
            Event::PowerFails(share) => {
                self.file.fail_after(0);
                let records = roll_back(&self.book(), SPEC, None, person)
                    .or_else(|_| promote_by_hand(&self.book(), &proposal(4, true, false, 0), true, person));
                if let Ok(records) = records {
                    prop_assert!(!self.change(records), "nothing is acknowledged without power");
                }
                self.restart(*share);
                Ok(())
            }
            Event::Ends => {
                self.state = None;
                self.state = Some(State::open_memory(&self.dir, self.file.clone()).unwrap());
                Ok(())
            }
        }
    }

    fn run(&mut self, proposal: &Proposal) -> Result<(), TestCaseError> {
        let (book, fingerprint) = (self.book(), proposal.model.fingerprint.clone());
        let decision = decide(&book, proposal, (7, "ben"));
        match &decision {
            Decision::Served(_) => {
                prop_assert_eq!(self.serves().map(|(_, served)| served), Some(&fingerprint));
            }
            Decision::Held(record) => {
                prop_assert!(self.held.contains(&fingerprint) || record.is_by_hand());
            }
            Decision::Decided(records) => {
                prop_assert!(
                    !self.held.contains(&fingerprint),
                    "a run never promotes what a person took back"
                );
                let state = records[0].state;
                prop_assert_eq!(state == PromotionState::Refused, !proposal.passes());
                prop_assert_eq!(
                    state == PromotionState::Promoted,
                    proposal.passes() && !proposal.needs_approval
                );
                if state == PromotionState::Promoted {
                    self.stack.push((records[0].id.clone(), fingerprint));
                }
                self.change(records.clone());
                let again = decide(&self.book(), proposal, (8, "ben"));
                let is_same = match &again {
                    Decision::Served(record) => record.id == records[0].id,
                    Decision::Decided(after) => after[0].id == records[0].id && after[0].state == state,
                    Decision::Held(_) => false,
                };
                prop_assert!(is_same, "the same run decides the same: {:?} {:?}", decision, again);
            }
        }
        Ok(())
    }

    fn roll_back(&mut self, to: Option<&str>, person: Person<'_>) -> Result<(), TestCaseError> {
        let before = self.serves().cloned();
        let Ok(records) = roll_back(&self.book(), SPEC, to, person) else {
            let others = self
                .stack
                .iter()
                .filter(|(_, model)| before.as_ref().is_some_and(|(_, served)| model != served));
            prop_assert!(to.is_some() || others.count() == 0, "there is one to go back to");
            return Ok(());
        };
        for record in &records {
            let last = self.stack.pop();
            prop_assert_eq!(last.as_ref().map(|(id, _)| id), Some(&record.id), "the newest goes first");
            self.held.insert(record.model.fingerprint.clone());
        }
        self.change(records);
        // What is served again is no longer held back by what was said of it before.
        if let Some((_, served)) = self.serves().cloned() {
            prop_assert!(to.is_some() || before.is_some_and(|(_, before)| before != served));
        }
        Ok(())
    }

    fn check(&self, is_written: bool) -> Result<(), TestCaseError> {
        let served = self.book().served(SPEC).map(|served| served.now.id.clone());
        prop_assert_eq!(served.as_ref(), self.serves().map(|(id, _)| id));
        let replayed = read_memory_at(&self.dir, &self.file, u64::MAX).unwrap();
        prop_assert_eq!(&replayed, self.projection(), "replaying the journal gives the projection");
        prop_assert!(self.book().needed().is_superset(
            &self.stack.iter().rev().take(1).map(|(_, model)| model.clone()).collect::<BTreeSet<_>>()
        ));
        if is_written {
            sync_served(self.projection()).unwrap();
            let file = read_served(&self.dir).map_or_else(Vec::new, |served| served.models);
            prop_assert_eq!(file.first().map(|model| &model.promotion), self.serves().map(|(id, _)| id));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_served_was_promoted_last_and_not_rolled_back(events in events()) {
        let folder = tempfile::tempdir().unwrap();
        let mut house = House::new(folder.path());
        for event in &events {
            house.happen(event)?;
            house.check(!matches!(event, Event::Ends))?;
        }
        // Whoever died left the file behind at most: the next one writes it.
        house.check(true)?;
    }
}

fn book_of(records: impl IntoIterator<Item = PromotionRecord>) -> PromotionBook {
    let mut book = PromotionBook::default();
    take_all(&mut book, records);
    book
}

fn take_all(book: &mut PromotionBook, records: impl IntoIterator<Item = PromotionRecord>) {
    for record in records {
        book.take(record);
    }
}

fn decided(book: &PromotionBook, proposal: &Proposal) -> Vec<PromotionRecord> {
    match decide(book, proposal, (7, "ben")) {
        Decision::Decided(records) => records,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_later_proposal_takes_the_place_of_one_that_waits_and_a_refused_one_does_not() {
    let first = decided(&PromotionBook::default(), &proposal(0, true, true, 1));
    assert_eq!(first[0].state, PromotionState::Awaiting);
    let book = book_of(first);
    assert_eq!(decided(&book, &proposal(1, false, true, 2)).len(), 1);
    let second = decided(&book, &proposal(1, true, true, 2));
    let states: Vec<(&str, PromotionState)> =
        second.iter().map(|record| (record.id.as_str(), record.state)).collect();
    assert_eq!(states, [("aligned-2", PromotionState::Awaiting), ("aligned-1", PromotionState::Superseded)]);
}

#[test]
fn a_run_does_not_replace_what_a_person_promoted_by_an_older_model() {
    let mut book = book_of(decided(&PromotionBook::default(), &proposal(0, true, false, 1)));
    let person = Person { by: "anna", at_millis: 8, reason: "" };
    for record in promote_by_hand(&book, &proposal(1, true, false, 1), false, person).unwrap() {
        book.take(record);
    }
    assert!(matches!(decide(&book, &proposal(0, true, false, 2), (9, "ben")), Decision::Held(_)));
    assert!(matches!(decide(&book, &proposal(2, true, false, 2), (9, "ben")), Decision::Decided(_)));
}

#[test]
fn force_needs_a_reason_and_is_kept_in_the_record() {
    let book = PromotionBook::default();
    let person = Person { by: "anna", at_millis: 8, reason: " " };
    let refused = proposal(0, false, false, 1);
    assert!(matches!(promote_by_hand(&book, &refused, false, person), Err(PromoteError::Refused { .. })));
    assert!(matches!(promote_by_hand(&book, &refused, true, person), Err(PromoteError::NoReason)));
    let person = Person { reason: "the judge was down", ..person };
    let records = promote_by_hand(&book, &refused, true, person).unwrap();
    assert_eq!(records[0].last().unwrap().reason, "forced: the judge was down");
}

#[test]
fn a_gate_that_refuses_each_night_keeps_one_short_record() {
    let mut book = PromotionBook::default();
    for night in 0..300 {
        let records = decided(&book, &proposal(0, night % 2 == 0, true, night));
        take_all(&mut book, records);
    }
    assert_eq!(book.records.len(), 1);
    assert!(book.records["aligned-1"].history.len() <= 42);
    for model in 0..250_u64 {
        let mut proposal = proposal(0, false, false, 1);
        proposal.model.fingerprint = format!("other {model}");
        let records = decided(&book, &proposal);
        take_all(&mut book, records);
    }
    assert_eq!(book.outdated(SPEC).len(), 51);
}

#[test]
fn what_is_told_is_short_and_says_why() {
    let mut refused = proposal(0, false, false, 4);
    let seen = cupola_specs::gate::SeenNumber {
        name: "report.judge.aligned.win_rate".to_owned(),
        value: 0.53,
        low: 0.46,
        high: 0.6,
        n: 200,
    };
    let gate = refused.gate.as_mut().unwrap();
    gate.expression = "report.judge.aligned.win_rate.low > 0.5".to_owned();
    gate.outcome.seen = vec![seen];
    let mut passed = refused.clone();
    passed.gate.as_mut().unwrap().outcome.passed = true;
    let waiting = Proposal { needs_approval: true, ..passed.clone() };
    let mut broken = refused.clone();
    broken.gate.as_mut().unwrap().outcome.problem =
        "there is no `previous.report.judge.aligned.win_rate`: no model is served yet".to_owned();
    let empty = PromotionBook::default();
    let mut lines: Vec<String> = [&refused, &passed, &waiting, &broken]
        .iter()
        .map(|proposal| decision_line(&decide(&empty, proposal, (7, "ben"))))
        .collect();
    let mut book = book_of(decided(&empty, &passed));
    lines.push(decision_line(&decide(&book, &passed, (8, "ben"))));
    let second = proposal(1, true, false, 5);
    let records = decided(&book, &second);
    take_all(&mut book, records);
    let person = Person { by: "anna@desk", at_millis: 9, reason: "it swears" };
    for record in roll_back(&book, SPEC, None, person).unwrap() {
        book.take(record);
    }
    lines.push(decision_line(&decide(&book, &second, (10, "ben"))));
    lines.extend(served_line(&book, SPEC));
    let errors = [
        promote_by_hand(&empty, &refused, false, person).unwrap_err(),
        promote_by_hand(&empty, &refused, true, Person { reason: "", ..person }).unwrap_err(),
        roll_back(&book, SPEC, None, person).unwrap_err(),
        roll_back(&book, SPEC, Some("aligned-9"), person).unwrap_err(),
        roll_back(&book, SPEC, Some("aligned-2"), person).unwrap_err(),
        approve(&book, None, person).unwrap_err(),
        approve(&book, Some("aligned-1"), person).unwrap_err(),
        roll_back(&empty, SPEC, None, person).unwrap_err(),
    ];
    lines.extend(errors.iter().map(|error| format!("error: {error}\nhint: {}", error.hint())));
    insta::assert_snapshot!(lines.join("\n"));
}

/// Found by the histories above: what waits and is superseded is newer than the word of a person, and says nothing of it.
#[test]
fn a_superseded_proposal_does_not_lift_a_rollback() {
    let mut book = PromotionBook::default();
    let person = Person { by: "anna", at_millis: 8, reason: "" };
    for (model, needs_approval) in [(3, false), (0, false), (1, false), (0, true)] {
        let records = decided(&book, &proposal(model, true, needs_approval, 1));
        take_all(&mut book, records);
    }
    for _ in 0..2 {
        let records = roll_back(&book, SPEC, None, person).unwrap();
        take_all(&mut book, records);
    }
    let records = promote_by_hand(&book, &proposal(1, true, false, 1), false, person).unwrap();
    assert_eq!(records[1].state, PromotionState::Superseded);
    take_all(&mut book, records);
    assert!(matches!(decide(&book, &proposal(0, true, false, 2), (9, "ben")), Decision::Held(_)));
}
