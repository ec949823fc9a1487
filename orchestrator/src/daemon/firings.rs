//! What becomes of schedules and slots, as records.

use std::path::PathBuf;

use super::WatchedSchedule;
use crate::schedule::{FiringRecord, FiringState, Order, ScheduleBook, ScheduleRecord, orders};
use crate::state::{Projection, RunState};

/// What `apply` is asked for by a firing.
pub(super) fn apply_arguments(watched: &WatchedSchedule) -> Vec<String> {
    let mut arguments = vec!["apply".to_owned(), watched.spec.display().to_string()];
    for job in &watched.schedule.jobs {
        arguments.extend(["--only".to_owned(), job.clone()]);
    }
    arguments
}

/// The record of a schedule that is paused, or goes on from now.
pub(crate) fn pause_record(
    book: &ScheduleBook,
    id: &str,
    spec: PathBuf,
    paused: bool,
    now_millis: i64,
) -> ScheduleRecord {
    let known = book.schedules.get(id).cloned();
    let mut record = known.unwrap_or(ScheduleRecord { spec, paused: false, since_millis: now_millis });
    if record.paused && !paused {
        record.since_millis = now_millis;
    }
    record.paused = paused;
    record
}

/// The record of a firing.
pub(crate) fn firing(
    id: &str,
    slot_millis: i64,
    now_millis: i64,
    state: FiringState,
    note: &str,
    manual: bool,
) -> FiringRecord {
    FiringRecord {
        schedule: id.to_owned(),
        slot_millis,
        recorded_millis: now_millis,
        manual,
        state,
        note: note.to_owned(),
        run: None,
        exit_code: None,
        run_before: None,
        is_cancelled: false,
    }
}

/// The records that a schedule's due slots lead to, those of cancelled firings among them.
pub(super) fn due(watched: &WatchedSchedule, book: &ScheduleBook, now_millis: i64) -> Vec<FiringRecord> {
    let id = &watched.id;
    let orders = orders(watched.named(), book, now_millis);
    if orders.is_empty() {
        return Vec::new();
    }
    let mut seen = ScheduleBook { schedules: book.schedules.clone(), firings: book.firings.clone() };
    let mut records = Vec::new();
    for order in orders {
        let record = match order {
            Order::Skip { slot_millis, note } => {
                firing(id, slot_millis, now_millis, FiringState::Skipped, &note, false)
            }
            Order::Fire { slot_millis, note, cancels } => {
                if cancels {
                    records.extend(cancelled(id, &seen));
                }
                firing(id, slot_millis, now_millis, FiringState::Queued, &note, false)
            }
        };
        seen.take(record.clone());
        records.push(record);
    }
    records
}

/// What runs and waits of a schedule, cancelled in favour of a later slot.
fn cancelled(id: &str, book: &ScheduleBook) -> Vec<FiringRecord> {
    let open = book.firings_of(id).filter(|(_, firing)| firing.state.is_open() && !firing.manual);
    open.map(|(_, firing)| {
        let mut firing = FiringRecord { is_cancelled: true, ..firing.clone() };
        "cancelled by a later slot".clone_into(&mut firing.note);
        if firing.state == FiringState::Queued {
            firing.state = FiringState::Cancelled;
        }
        firing
    })
    .collect()
}

/// A firing that a daemon left behind when it died, now that nobody holds the folder: as its run ended, or to be started again where it
/// has none or that was interrupted.
pub(super) fn left_behind(firing: &FiringRecord, projection: &Projection) -> FiringRecord {
    let run = firing.newer_run(projection);
    let state = match run.map(|run| run.state) {
        Some(RunState::Succeeded) => FiringState::Succeeded,
        Some(RunState::Failed) => FiringState::Failed,
        Some(RunState::Cancelled) => FiringState::Cancelled,
        _ if firing.is_cancelled => FiringState::Cancelled,
        Some(RunState::Running | RunState::Paused | RunState::Interrupted) | None => FiringState::Queued,
    };
    FiringRecord { state, run: run.map(|run| run.id.clone()), ..firing.clone() }
}
