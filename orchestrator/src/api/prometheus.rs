//! `/metrics`: how state, runs, attempts, the store, schedules and alerts stand, as Prometheus reads it.
//!
//! A scrape reads state once, as every page does, and looks at the sizes of a few files; it opens no event file.

mod exposition;

use std::collections::{BTreeMap, HashSet};
use std::time::SystemTime;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use self::exposition::{Buckets, Exposition, Kind};
use super::{ApiError, ApiState};
use crate::alert::{AlertBook, AlertState};
use crate::daemon::WatchedSchedule;
use crate::plan::Machine;
use crate::schedule::{FiringRecord, FiringState, ScheduleBook};
use crate::state::{Projection, RunState, StepState, holder, now_millis};

/// Upper bounds of the attempts' times, seconds: from a no-op to a week.
const BOUNDS: [f64; 12] =
    [0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 172_800.0, 604_800.0];
const RUN_STATES: [RunState; 6] = [
    RunState::Running,
    RunState::Paused,
    RunState::Succeeded,
    RunState::Failed,
    RunState::Cancelled,
    RunState::Interrupted,
];
const STEP_STATES: [StepState; 10] = [
    StepState::Waiting,
    StepState::Cached,
    StepState::Submitted,
    StepState::Running,
    StepState::Unknown,
    StepState::Backoff,
    StepState::Succeeded,
    StepState::Failed,
    StepState::Blocked,
    StepState::Cancelled,
];
const FIRING_STATES: [FiringState; 5] = [
    FiringState::Queued,
    FiringState::Started,
    FiringState::Succeeded,
    FiringState::Failed,
    FiringState::Skipped,
];

/// What is known beside the projection.
#[derive(Debug, Default)]
struct Surroundings {
    is_driven: bool,
    cores: u32,
    journal_bytes: u64,
    snapshot_age_secs: Option<f64>,
    disk_bytes: Option<(u64, u64)>,
}

/// The text of `/metrics`.
pub(super) async fn metrics(State(state): State<ApiState>) -> Result<impl IntoResponse, ApiError> {
    let watched = state.commands().schedules();
    let measure = move |state: &ApiState| {
        let around = Surroundings::of(state);
        Ok(render(&state.projection()?, &around, &watched, now_millis()))
    };
    let text = state.reading(measure).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

impl Surroundings {
    fn of(state: &ApiState) -> Self {
        let dir = state.dir();
        let length = |path| std::fs::metadata(path).map_or(0, |data| data.len());
        let written = std::fs::metadata(dir.snapshot()).and_then(|data| data.modified()).ok();
        let age = written.and_then(|at| SystemTime::now().duration_since(at).ok());
        let disk = rustix::fs::statvfs(dir.root()).ok();
        Self {
            is_driven: holder(dir).is_some(),
            cores: Machine::detect().cores,
            journal_bytes: length(dir.journal()),
            snapshot_age_secs: age.map(|age| age.as_secs_f64()),
            disk_bytes: disk.map(|disk| (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)),
        }
    }
}

fn render(
    projection: &Projection,
    around: &Surroundings,
    watched: &[WatchedSchedule],
    now_millis: i64,
) -> String {
    let mut text = Exposition::default();
    text.family("cupola_build_info", Kind::Gauge, "Always 1; the version is a label.");
    text.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    runs(&mut text, projection);
    steps(&mut text, projection, around.cores);
    attempts(&mut text, projection);
    store(&mut text, projection);
    files(&mut text, projection, around);
    schedules(&mut text, &ScheduleBook::of(projection), watched, now_millis);
    alerts(&mut text, &AlertBook::of(projection));
    text.into_text()
}

fn runs(text: &mut Exposition, projection: &Projection) {
    text.family("cupola_runs", Kind::Gauge, "Runs by state.");
    for state in RUN_STATES {
        let count = projection.runs().iter().filter(|run| run.state == state).count();
        text.sample(&[("state", state.as_str())], count as f64);
    }
}

/// Steps of each spec's newest run, the queue and the cores of the runs that go on.
fn steps(text: &mut Exposition, projection: &Projection, cores: u32) {
    let mut newest = BTreeMap::new();
    for run in projection.runs() {
        newest.insert(run.spec_name.as_str(), run);
    }
    text.family("cupola_steps", Kind::Gauge, "Steps of the newest run of each spec by state.");
    for (spec, run) in &newest {
        let counts = run.counts();
        for state in STEP_STATES {
            let count = counts.get(&state).copied().unwrap_or(0);
            text.sample(&[("spec", spec), ("state", state.as_str())], count as f64);
        }
    }
    let open = || projection.runs().iter().filter(|run| run.state == RunState::Running);
    let steps = || open().flat_map(|run| &run.steps);
    let queued = steps().filter(|step| matches!(step.state, StepState::Waiting | StepState::Backoff)).count();
    let used: u64 = steps().filter(|step| step.state.is_live()).map(|step| u64::from(step.cores)).sum();
    text.gauge("cupola_queued_steps", "Steps of running runs that wait for a turn.", queued as f64);
    text.gauge("cupola_slots_used_cores", "Core slots that live attempts take.", used as f64);
    text.gauge("cupola_slots_cores", "Core slots of this machine.", f64::from(cores));
}

/// Attempts of every step that a run in state has, each counted once however many runs share it.
fn attempts(text: &mut Exposition, projection: &Projection) {
    let mut ended: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    let mut times: BTreeMap<&str, Buckets> = BTreeMap::new();
    let mut counted = HashSet::new();
    for step in projection.runs().iter().flat_map(|run| &run.steps) {
        if !counted.insert(step.fingerprint.as_str()) {
            continue;
        }
        for attempt in projection.attempts(&step.fingerprint) {
            let Some(end) = attempt.ended_millis else { continue };
            let code = attempt.error.as_ref().map_or("", |error| error.code.as_str());
            *ended.entry((step.kind.as_str(), &attempt.outcome, code)).or_default() += 1;
            let secs = (end - attempt.submitted_millis).max(0) as f64 / 1000.0;
            times.entry(step.kind.as_str()).or_insert_with(|| Buckets::new(&BOUNDS)).push(secs);
        }
    }
    let help = "Attempts that ended, by kind of step, outcome and error code.";
    text.family("cupola_attempts_total", Kind::Counter, help);
    for ((kind, outcome, code), count) in ended {
        text.sample(&[("kind", kind), ("outcome", outcome), ("code", code)], count as f64);
    }
    let help = "Seconds from submission to end of attempts, by kind of step.";
    text.family("cupola_attempt_duration_seconds", Kind::Histogram, help);
    for (kind, buckets) in &times {
        text.histogram(&[("kind", kind)], buckets);
    }
}

fn store(text: &mut Exposition, projection: &Projection) {
    let mut kinds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for artifact in projection.artifacts().values() {
        let (count, bytes) = kinds.entry(&artifact.kind).or_default();
        *count += 1;
        *bytes += artifact.size_bytes;
    }
    text.family("cupola_artifacts", Kind::Gauge, "Artifacts in the store by kind.");
    for (kind, (count, _)) in &kinds {
        text.sample(&[("kind", kind)], *count as f64);
    }
    text.family("cupola_store_bytes", Kind::Gauge, "Bytes of the artifacts in the store by kind.");
    for (kind, (_, bytes)) in &kinds {
        text.sample(&[("kind", kind)], *bytes as f64);
    }
}

fn files(text: &mut Exposition, projection: &Projection, around: &Surroundings) {
    let driven = u8::from(around.is_driven);
    text.gauge("cupola_busy", "Whether a process works on the state folder.", f64::from(driven));
    text.family("cupola_journal_records_total", Kind::Counter, "Records of the journal.");
    text.sample(&[], projection.seq() as f64);
    text.gauge("cupola_journal_bytes", "Length of the journal.", around.journal_bytes as f64);
    if let Some(age) = around.snapshot_age_secs {
        text.gauge("cupola_snapshot_age_seconds", "Since the snapshot was written.", age);
    }
    if let Some((free, total)) = around.disk_bytes {
        let help = "Free bytes, for this user, on the disk of the state folder.";
        text.gauge("cupola_disk_free_bytes", help, free as f64);
        text.gauge("cupola_disk_size_bytes", "Bytes of the disk of the state folder.", total as f64);
    }
}

fn schedules(text: &mut Exposition, book: &ScheduleBook, watched: &[WatchedSchedule], now_millis: i64) {
    let ids: Vec<&String> = book.schedules.keys().collect();
    text.family("cupola_schedule_firings", Kind::Gauge, "Firings of each schedule by state.");
    for id in &ids {
        for state in FIRING_STATES {
            let count = book.firings_of(id).filter(|(_, firing)| firing.state == state).count();
            text.sample(&[("schedule", id), ("state", state.as_str())], count as f64);
        }
    }
    let paused = |id: &str| book.schedules.get(id).is_some_and(|record| record.paused);
    text.family("cupola_schedule_paused", Kind::Gauge, "Whether the schedule is paused.");
    for id in &ids {
        text.sample(&[("schedule", id)], f64::from(u8::from(paused(id))));
    }
    let help = "The next slot of a schedule that is not paused, seconds since the Unix epoch.";
    text.family("cupola_schedule_next_timestamp_seconds", Kind::Gauge, help);
    for one in watched.iter().filter(|one| !paused(&one.id)) {
        if let Some(next) = one.table.next(now_millis) {
            text.sample(&[("schedule", &one.id)], next as f64 / 1000.0);
        }
    }
    let help = "The newest slot that was taken care of, seconds since the Unix epoch.";
    text.family("cupola_schedule_last_timestamp_seconds", Kind::Gauge, help);
    for (id, firing) in ids.iter().filter_map(|id| Some((id, newest_firing(book, id)?))) {
        text.sample(&[("schedule", id)], firing.slot_millis as f64 / 1000.0);
    }
    let help = "From the newest slot to the last change of its firing, or to now while it is queued.";
    text.family("cupola_schedule_lag_seconds", Kind::Gauge, help);
    for (id, firing) in ids.iter().filter_map(|id| Some((id, newest_firing(book, id)?))) {
        let until = if firing.state == FiringState::Queued { now_millis } else { firing.recorded_millis };
        text.sample(&[("schedule", id)], (until - firing.slot_millis).max(0) as f64 / 1000.0);
    }
}

fn alerts(text: &mut Exposition, book: &AlertBook) {
    text.family("cupola_alerts", Kind::Gauge, "Alerts that the journal holds by state.");
    for state in AlertState::ALL {
        let count = book.alerts.keys().filter(|key| book.state(key) == state).count();
        text.sample(&[("state", state.as_str())], count as f64);
    }
}

/// The firing of a schedule's newest slot.
fn newest_firing<'a>(book: &'a ScheduleBook, id: &'a str) -> Option<&'a FiringRecord> {
    let firings = book.firings_of(id).map(|(_, firing)| firing);
    firings.filter(|firing| !firing.manual).max_by_key(|firing| firing.slot_millis)
}

#[cfg(test)]
mod tests;
