//! What the commands about the served model share: deciding at the end of a run, changing what is served, and telling of it.

use std::path::Path;
use std::time::{Duration, Instant};

use cupola_specs::contract::ErrorClass;
use cupola_specs::spec::ResolvedSpec;
use serde_json::{Value, json};

use super::tables::{plain_table, text_of};
use super::{CliError, Global};
use crate::plan::{FileHashes, folder_hash};
use crate::promote::{
    Candidate, Change, Decision, ModelRules, Person, PromoteError, PromotionBook, PromotionRecord,
    PromotionState, Rules, decide, decision_line, is_synced, propose, saw, sync_served,
};
use crate::report::format;
use crate::run::{ControlRequest, leave_request};
use crate::state::{
    Act, Fact, Projection, RunRow, RunState, State, StateDir, StateError, now_millis, read_state,
};

/// How long another process may hold the folder, or take to carry a request out.
const PATIENCE: Duration = Duration::from_secs(10);

/// Decides about the model that a run made or found; none where the spec serves nothing or the run did not succeed.
pub(super) fn after_run(
    state: &mut State,
    spec: &ResolvedSpec,
    run: &str,
    global: &Global,
) -> Result<Option<Decision>, CliError> {
    let Some(rules) = Rules::of(spec) else { return Ok(None) };
    let projection = state.projection();
    let Some(row) = projection.run(run).filter(|row| row.state == RunState::Succeeded) else {
        return Ok(None);
    };
    let Some(candidate) = Candidate::of(&rules, row, projection, &identify(global)) else { return Ok(None) };
    let book = PromotionBook::of(projection);
    if crate::promote::is_settled(&book, &rules, &candidate.fingerprint, run) {
        let word = crate::promote::last_word(&book, &rules.spec, &candidate.fingerprint);
        let known = || book.newest(&rules.spec, &candidate.fingerprint).cloned();
        return Ok(word.or_else(|| known().map(|record| Decision::Decided(vec![record]))));
    }
    let proposal = propose(&rules, &candidate, projection);
    let decision = decide(&book, &proposal, (now_millis(), &global.act().actor.who()));
    if let Decision::Decided(records) = &decision {
        let facts = Change::new(&book, records.clone()).facts(projection)?;
        state.record(facts.unwrap_or_default())?;
        sync(state.projection())?;
    }
    Ok(Some(decision))
}

/// Whether nothing is left to decide about what a finished run's spec serves, by the rules as they are now.
pub(super) fn is_settled(spec: &ResolvedSpec, run: &RunRow, projection: &Projection) -> bool {
    let Some(rules) = Rules::of(spec) else { return true };
    if !matches!(rules.fact(projection), Ok(None)) {
        return false;
    }
    let dir = projection.dir().clone();
    let Some(candidate) = Candidate::of(&rules, run, projection, &|folder| identity(&dir, folder)) else {
        return true;
    };
    let book = PromotionBook::of(projection);
    crate::promote::is_settled(&book, &rules, &candidate.fingerprint, &run.id)
}

/// The identity of a model folder from outside, by its content.
pub(super) fn identify(global: &Global) -> impl Fn(&Path) -> Option<String> {
    let dir = global.state_dir();
    move |folder| identity(&dir, folder)
}

fn identity(dir: &StateDir, folder: &Path) -> Option<String> {
    folder_hash(folder, &mut FileHashes::load(&dir.file_hashes())).ok()
}

/// Who decides now.
pub(super) fn person<'p>(by: &'p str, reason: &'p str) -> Person<'p> {
    Person { by, at_millis: now_millis(), reason }
}

/// An error where the model's folder is gone.
pub(super) fn check_there(record: &PromotionRecord, projection: &Projection) -> Result<(), PromoteError> {
    let path = projection.dir().root().join(&record.model.folder);
    if path.join("config.json").is_file() {
        return Ok(());
    }
    Err(PromoteError::Gone { id: record.id.clone(), path })
}

/// The newest spec that serves something.
pub(super) fn spec_served(projection: &Projection, book: &PromotionBook) -> Option<String> {
    let specs = projection.runs().iter().rev().map(|run| run.spec_name.as_str());
    let served = |spec: &&str| book.served(spec).is_some();
    specs.chain(book.specs()).find(served).map(str::to_owned)
}

/// Carries a change out, or has the process that drives a run carry it out: going back must not wait for a night's training.
pub(super) fn change_served(
    projection: &Projection,
    change: &Change,
    act: Act,
    global: &Global,
) -> Result<(), CliError> {
    let since = Instant::now();
    loop {
        match State::open(&global.state_dir(), "promote") {
            Ok(mut state) => {
                let facts = change.facts(state.projection())?.ok_or_else(changed_meanwhile)?;
                let acted = Fact::Acted(Box::new(Act { result: result_of(change), ..act }));
                state.record(std::iter::once(acted).chain(facts).collect())?;
                return sync(state.projection());
            }
            Err(StateError::Locked { .. }) if since.elapsed() < PATIENCE => {
                let asked = ControlRequest::promotion(
                    change.clone(),
                    Act { result: result_of(change), ..act.clone() },
                );
                if ask(projection.dir(), &asked, since)? {
                    return check_done(change, global);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Leaves a request and waits until it is taken; false where nobody took it while the folder came free.
fn ask(dir: &StateDir, request: &ControlRequest, since: Instant) -> Result<bool, CliError> {
    let file = leave_request(dir, request)?;
    loop {
        std::thread::sleep(Duration::from_millis(20));
        if !file.exists() {
            return Ok(true);
        }
        if crate::state::holder(dir).is_none() || since.elapsed() > PATIENCE {
            // Nobody must find it later.
            return Ok(std::fs::remove_file(&file).is_err());
        }
    }
}

/// Whether the process that took a change carried it out: in the journal and in the file that servers read.
fn check_done(change: &Change, global: &Global) -> Result<(), CliError> {
    let since = Instant::now();
    let dir = global.state_dir();
    let mut is_recorded = false;
    while since.elapsed() < PATIENCE {
        let state = read_state(&dir)?;
        let book = PromotionBook::of(&state);
        is_recorded = change.records.iter().all(|record| book.records.get(&record.id) == Some(record));
        if is_recorded && is_synced(&state) {
            return Ok(());
        }
        if !is_recorded && book.next_order() != change.order {
            return Err(changed_meanwhile());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if is_recorded {
        let path = dir.served().display().to_string();
        let message =
            format!("the change is recorded, but {path} does not say so after {} s", PATIENCE.as_secs());
        return Err(CliError::input(
            message,
            "see whether its disk is full; the next command writes it again",
        ));
    }
    Err(changed_meanwhile())
}

fn changed_meanwhile() -> CliError {
    let hint = "`cupola get promotions` shows how it stands; give the command again";
    CliError::input("what is served was changed by somebody else meanwhile", hint)
}

fn result_of(change: &Change) -> String {
    let parts = change.records.iter().map(|record| format!("{} {}", record.id, record.state.as_str()));
    parts.collect::<Vec<String>>().join(", ")
}

fn sync(projection: &Projection) -> Result<(), CliError> {
    let io = |source| CliError::Io { path: projection.dir().served(), source };
    sync_served(projection).map(drop).map_err(io)
}

/// Tells what became of the first of these.
pub(super) fn say(records: &[PromotionRecord], global: &Global) {
    if global.json {
        println!("{}", json!({ "promotions": records }));
    } else {
        println!("{}", decision_line(&Decision::Decided(records.to_vec())));
    }
}

/// Every promotion, the newest change last.
pub(super) fn listed(projection: &Projection) -> (Value, String) {
    let book = PromotionBook::of(projection);
    let mut records: Vec<&PromotionRecord> = book.records.values().collect();
    records.sort_by_key(|record| record.order);
    if records.is_empty() {
        let text = "no model was proposed yet: `cupola apply` proposes what `serve` names";
        return (json!(records), text.to_owned());
    }
    let mut table = plain_table(&["PROMOTION", "SPEC", "MODEL", "STATE", "SINCE", "BY", "WHY"]);
    for record in &records {
        let is_served = book.served(&record.spec).is_some_and(|served| served.now.id == record.id);
        let last = record.last();
        let state = match (is_served, record.state) {
            (true, _) => "served",
            (false, PromotionState::Promoted) => "served before",
            (false, state) => state.as_str(),
        };
        table.add_row([
            record.id.clone(),
            record.spec.clone(),
            format::fingerprint(&record.model.fingerprint).to_owned(),
            state.to_owned(),
            last.map_or(String::new(), |moment| format::time(moment.at_millis)),
            last.map_or(String::new(), |moment| moment.by.clone()),
            why(record),
        ]);
    }
    (json!(records), text_of(&table))
}

/// Why a record stands as it does: a person's reason, else what the gate saw.
fn why(record: &PromotionRecord) -> String {
    let reason = record.last().map(|moment| moment.reason.clone()).filter(|reason| !reason.is_empty());
    reason.or_else(|| record.gate.as_ref().map(saw)).unwrap_or_else(|| "no gate".to_owned())
}

/// Why no model is served: what was said of the newest proposal, or how there would be one.
pub(super) fn nothing_served(projection: &Projection) -> CliError {
    let book = PromotionBook::of(projection);
    let rules =
        projection.runs().iter().rev().find_map(|run| crate::promote::rules_of(projection, &run.spec_name));
    let newest = rules.as_ref().and_then(|rules| book.of_spec(&rules.spec).into_iter().next());
    let hint = match (newest, &rules) {
        (Some(record), _) => decision_line(&Decision::Decided(vec![record.clone()])),
        (None, Some(Rules { model: ModelRules::Step(_), name, .. })) => {
            format!("a successful `cupola apply` promotes `{name}`; `cupola promote` does it by hand")
        }
        _ => "`cupola promote JOB` promotes one; `cupola serve JOB` serves one as it is".to_owned(),
    };
    CliError::input("no model is promoted yet", hint)
}

impl From<PromoteError> for CliError {
    fn from(error: PromoteError) -> Self {
        match error.class() {
            ErrorClass::User => Self::input(error.to_string(), error.hint()),
            class => Self::Other { message: error.to_string(), hint: error.hint().to_owned(), class },
        }
    }
}
