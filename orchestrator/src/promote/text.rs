//! What people are told of promotions, a line each.

use cupola_specs::gate::SeenNumber;

use super::{Decision, GateRecord, PromotionBook, PromotionRecord, PromotionState};

/// What a gate saw: why it could not be evaluated, and each number with its interval.
pub fn saw(gate: &GateRecord) -> String {
    let numbers: Vec<String> = gate.outcome.seen.iter().map(number).collect();
    let saw = if numbers.is_empty() { "no number".to_owned() } else { numbers.join("; ") };
    if gate.outcome.problem.is_empty() {
        format!("`{}` is {}, with {saw}", gate.expression.trim(), gate.outcome.passed)
    } else if numbers.is_empty() {
        gate.outcome.problem.clone()
    } else {
        format!("{} (it saw {saw})", gate.outcome.problem)
    }
}

fn number(seen: &SeenNumber) -> String {
    format!("{} = {:.4} [{:.4}, {:.4}], n {}", seen.name, seen.value, seen.low, seen.high, seen.n)
}

/// What became of a proposal.
pub fn decision_line(decision: &Decision) -> String {
    match decision {
        Decision::Served(record) => {
            format!("served: {} is what is served already ({})", record.name, record.id)
        }
        Decision::Held(record) => {
            let last = record.last();
            let by = last.map_or("", |moment| moment.by.as_str());
            let reason = last.filter(|moment| !moment.reason.is_empty());
            let reason = reason.map_or_else(String::new, |moment| format!(" ({})", moment.reason));
            format!(
                "not promoted: {} was {} by {by}{reason}; `cupola promote {}` promotes it by hand",
                record.id,
                record.state.as_str(),
                record.name
            )
        }
        Decision::Decided(records) => records.first().map_or_else(String::new, record_line),
    }
}

/// How a proposal stands.
fn record_line(record: &PromotionRecord) -> String {
    let id = &record.id;
    let gate = record.gate.as_ref().map(saw);
    match (record.state, gate) {
        (PromotionState::Promoted, None) => {
            format!("promoted: {id} is served; `cupola rollback` goes back")
        }
        (PromotionState::Promoted, Some(saw)) => {
            format!("promoted: {id} is served: {saw}; `cupola rollback` goes back")
        }
        (PromotionState::Refused, saw) => {
            format!("not promoted: the gate refuses {id}: {}", saw.unwrap_or_default())
        }
        (PromotionState::Awaiting, saw) => {
            let saw = saw.map_or_else(String::new, |saw| format!(" ({saw})"));
            format!("awaits approval: {id}{saw}; `cupola approve {id}` or `cupola reject {id} --reason TEXT`")
        }
        (state, _) => format!("{id}: {}", state.as_str()),
    }
}

/// What became of the model that a run proposed last; none where it proposed none.
pub fn run_line(book: &PromotionBook, run: &str) -> Option<String> {
    let records = book.records.values().filter(|record| record.run == run);
    records.max_by_key(|record| record.order).map(record_line)
}

/// How a spec's served model stands, and what was said last of others; none where nothing was ever proposed.
pub fn served_line(book: &PromotionBook, spec: &str) -> Option<String> {
    let served = book.served(spec).map(|served| served.now);
    let newest = *book.of_spec(spec).first()?;
    let now = served.map_or_else(|| "served: nothing".to_owned(), |record| format!("served: {}", record.id));
    let is_told = served.is_some_and(|served| served.id == newest.id);
    Some(if is_told { now } else { format!("{now}; {}", record_line(newest)) })
}
