//! Reading the log: acts with the run that they led to and how it ended, both told by the facts behind them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::state::{Act, Fact, Record, RunState, StateDir, StateError, read_state, visit_journal};

/// Verbs that drive a run.
const DRIVERS: [&str; 5] = ["apply", "run", "resume", "retry", "schedule fire"];

/// One act.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditEntry {
    /// Its place in the journal.
    pub seq: u64,
    /// When it was recorded, milliseconds since the Unix epoch.
    pub at_millis: i64,
    /// What was done, and by whom.
    #[serde(flatten)]
    pub act: Act,
}

/// Which acts are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// Not before this, milliseconds since the Unix epoch.
    pub since_millis: Option<i64>,
    /// Only of whom this is a part: user, host or on whose behalf.
    pub who: Option<String>,
}

impl AuditFilter {
    fn wants(&self, entry: &AuditEntry) -> bool {
        let actor = &entry.act.actor;
        let is_of =
            |who: &String| [&actor.user, &actor.host, &actor.via].iter().any(|part| part.contains(who));
        self.since_millis.is_none_or(|since| entry.at_millis >= since) && self.who.as_ref().is_none_or(is_of)
    }
}

/// The acts of a journal, oldest first.
pub fn read_audit(dir: &StateDir, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StateError> {
    let mut reader = Reader::default();
    match visit_journal(dir, &mut |record| reader.take(&record)) {
        Err(StateError::Schema { .. }) => {
            // Reading state is what brings an older journal up.
            read_state(dir)?;
            visit_journal(dir, &mut |record| reader.take(&record))?;
        }
        other => other?,
    }
    reader.entries.retain(|entry| filter.wants(entry));
    Ok(reader.entries)
}

/// Acts so far, and which of them drives which run.
#[derive(Debug, Default)]
struct Reader {
    entries: Vec<AuditEntry>,
    /// The act whose run has not shown itself yet.
    waits: Option<usize>,
    drives: BTreeMap<String, usize>,
}

impl Reader {
    fn take(&mut self, record: &Record) {
        match &record.fact {
            Fact::Acted(act) => {
                if act.run.is_none() && DRIVERS.contains(&act.verb.as_str()) {
                    self.waits = Some(self.entries.len());
                }
                let act = act.as_ref().clone();
                self.entries.push(AuditEntry { seq: record.seq, at_millis: record.at_millis, act });
            }
            Fact::RunCreated { run, .. } => self.begin(run),
            Fact::RunMoved { run, state } => {
                if *state == RunState::Running {
                    self.begin(run);
                }
                if let Some(at) = self.drives.get(run).filter(|_| *state != RunState::Running) {
                    state.as_str().clone_into(&mut self.entries[*at].act.result);
                }
            }
            _ => {}
        }
    }

    /// A run is made or goes on: it is that of the act that waits for one.
    fn begin(&mut self, run: &str) {
        if let Some(at) = self.waits.take() {
            self.entries[at].act.run = Some(run.to_owned());
            self.drives.insert(run.to_owned(), at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Actor, State};

    fn acted(verb: &str, user: &str) -> Fact {
        let actor = Actor { user: user.to_owned(), ..Actor::default() };
        Fact::Acted(Box::new(Act { actor, verb: verb.to_owned(), ..Act::default() }))
    }

    fn moved(run: &str, state: RunState) -> Fact {
        Fact::RunMoved { run: run.to_owned(), state }
    }

    fn created(run: &str) -> Fact {
        let (spec_name, plan_hash) = ("t".to_owned(), "p".to_owned());
        Fact::RunCreated { run: run.to_owned(), spec_name, spec_path: "t.yaml".into(), plan_hash }
    }

    #[test]
    fn acts_are_told_with_their_run_and_how_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        let mut state = State::open(&dir, "test").unwrap();
        state.record(vec![acted("apply", "anna"), created("t-1")]).unwrap();
        state.record(vec![acted("pause", "ben"), moved("t-1", RunState::Paused)]).unwrap();
        drop(state);
        let mut state = State::open(&dir, "test").unwrap();
        state.record(vec![acted("resume", "ben"), moved("t-1", RunState::Running)]).unwrap();
        state.record(vec![moved("t-1", RunState::Succeeded), acted("gc", "anna")]).unwrap();
        let before = state.projection().clone();
        drop(state);
        let told = |filter: &AuditFilter| -> Vec<(String, Option<String>, String)> {
            let entries = read_audit(&dir, filter).unwrap();
            entries.into_iter().map(|entry| (entry.act.verb, entry.act.run, entry.act.result)).collect()
        };
        let row = |verb: &str, run: Option<&str>, result: &str| {
            (verb.to_owned(), run.map(str::to_owned), result.to_owned())
        };
        assert_eq!(
            told(&AuditFilter::default()),
            [
                row("apply", Some("t-1"), "paused"),
                row("pause", None, ""),
                row("resume", Some("t-1"), "succeeded"),
                row("gc", None, "")
            ]
        );
        assert_eq!(told(&AuditFilter { who: Some("ben".into()), ..AuditFilter::default() }).len(), 2);
        assert!(told(&AuditFilter { since_millis: Some(i64::MAX), ..AuditFilter::default() }).is_empty());
        assert_eq!(crate::state::read_state(&dir).unwrap(), before, "the projection keeps no act");
    }
}
