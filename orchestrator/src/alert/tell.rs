//! From a firing that ended to what is told about it, as facts that are recorded before its end is.

use std::path::Path;

use cupola_specs::contract::ErrorClass;
use cupola_specs::job::StepKind;
use cupola_specs::spec::{ProcessEnvironment, Schedule, Webhook, load};

use super::compare::ALPHA;
use super::message::VERSION;
use super::reports::{Judged, ReportPair, lines_of};
use super::{
    Alert, AlertBook, AlertError, AlertKind, AlertRecord, ComparedReport, ComparisonRecord, FailedStep,
    MetricChange, ReportChange, alert_id, alert_key, holm,
};
use crate::schedule::{FiringRecord, FiringState};
use crate::state::{Fact, Projection, RunRow, StepState};
use crate::store::Store;

/// Most failed steps, metrics of a text, and characters of a message that an alert holds.
const MOST_STEPS: usize = 20;
const MOST_LINES: usize = 10;
const MOST_CHARS: usize = 2_000;

/// What telling needs to know of the world.
pub struct Told<'a> {
    /// What is true now.
    pub projection: &'a Projection,
    /// Where the reports are.
    pub store: &'a Store,
    /// The spec's file, for the lines of fields.
    pub spec: &'a Path,
    /// Takes secrets out of what workers said.
    pub redact: &'a dyn Fn(&str) -> String,
    /// Now, milliseconds since the Unix epoch.
    pub now_millis: i64,
}

/// What is to be recorded before the end of a firing is: its alerts, and how its reports compare. Nothing where nobody is to be told.
pub fn tell(firing: &FiringRecord, schedule: &Schedule, told: &Told<'_>) -> Result<Vec<Fact>, AlertError> {
    match (firing.state, &schedule.on_failure, &schedule.on_regression) {
        (FiringState::Failed, Some(webhook), _) => {
            let alert = failure(firing, schedule, told);
            Ok(vec![told.intend(firing, webhook, &alert)?])
        }
        (FiringState::Succeeded, _, Some(webhook)) => compared(firing, schedule, webhook, told),
        _ => Ok(Vec::new()),
    }
}

impl Told<'_> {
    /// The intent of an alert.
    fn intend(&self, firing: &FiringRecord, webhook: &Webhook, alert: &Alert) -> Result<Fact, AlertError> {
        let record = AlertRecord {
            schedule: firing.schedule.clone(),
            kind: alert.kind,
            made_millis: self.now_millis,
            webhook: webhook.clone(),
            body: serde_json::to_value(alert)?,
        };
        Ok(record.fact(&alert_key(&firing.key(), alert.kind))?)
    }

    /// The run of a firing. One that found everything done made none: its reports are those of the newest run.
    fn run(&self, firing: &FiringRecord) -> Option<&RunRow> {
        match &firing.run {
            Some(run) => self.projection.run(run),
            None if firing.state == FiringState::Succeeded => {
                self.projection.latest_run(Some(firing.spec_name()))
            }
            None => None,
        }
    }

    /// A text without secrets, cut where it is very long.
    fn plain(&self, text: &str) -> String {
        let text = (self.redact)(text);
        match text.char_indices().nth(MOST_CHARS) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    }
}

/// An alert with what every kind has.
fn blank(firing: &FiringRecord, schedule: &Schedule, kind: AlertKind, now_millis: i64) -> Alert {
    Alert {
        version: VERSION,
        id: alert_id(&alert_key(&firing.key(), kind)),
        kind,
        at: time(now_millis),
        text: String::new(),
        spec: firing.spec_name().to_owned(),
        schedule: schedule.name.clone(),
        firing: Some(firing.key()),
        run: firing.run.clone(),
        exit_code: firing.exit_code,
        note: firing.note.clone(),
        failed_steps: Vec::new(),
        reports: Vec::new(),
        look: Vec::new(),
    }
}

/// An instant as bodies have it.
pub(super) fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |at| at.to_string())
}

/// What is told of a firing that failed.
fn failure(firing: &FiringRecord, schedule: &Schedule, told: &Told<'_>) -> Alert {
    let mut alert = blank(firing, schedule, AlertKind::RunFailed, told.now_millis);
    let run = told.run(firing);
    let failed: Vec<_> =
        run.into_iter().flat_map(|run| &run.steps).filter(|step| step.state == StepState::Failed).collect();
    for step in failed.iter().take(MOST_STEPS) {
        let error = step.error.as_deref();
        alert.failed_steps.push(FailedStep {
            step: step.name.clone(),
            class: error.map_or(ErrorClass::Bug, |error| error.class),
            code: error.map_or_else(String::new, |error| error.code.clone()),
            message: error.map_or_else(String::new, |error| told.plain(&error.message)),
            hint: error.map_or_else(String::new, |error| told.plain(&error.hint)),
        });
    }
    let mut notes: Vec<String> =
        std::iter::once(told.plain(&firing.note)).filter(|n| !n.is_empty()).collect();
    if failed.len() > MOST_STEPS {
        notes.push(format!("{} more steps failed", failed.len() - MOST_STEPS));
    }
    match run {
        None => notes.push("it led to no run; daemon.log in the state folder says why".to_owned()),
        Some(run) if failed.is_empty() => notes.push(format!("run {} is {}", run.id, run.state.as_str())),
        Some(_) => {}
    }
    alert.note = notes.join("; ");
    let of_run = run.map(|run| format!(", run {}", run.id)).unwrap_or_default();
    let mut lines = vec![format!("{} failed{of_run}", firing.schedule)];
    for step in alert.failed_steps.iter().take(MOST_LINES) {
        lines.push(format!("{}: {} ({})", step.step, step.message, step.code));
        lines.extend((!step.hint.is_empty()).then(|| format!("  {}", step.hint)));
    }
    lines.extend((!alert.note.is_empty()).then(|| alert.note.clone()));
    alert.text = lines.join("\n");
    if let (Some(step), Some(run)) = (failed.first(), run) {
        let (step, run) = (quoted(&step.name), quoted(&run.id));
        alert.look =
            vec![format!("cupola why {step} --run {run}"), format!("cupola logs {step} --run {run}")];
    }
    alert
}

/// How the reports of a firing compare with the ones before them, and the alert where one got worse.
fn compared(
    firing: &FiringRecord,
    schedule: &Schedule,
    webhook: &Webhook,
    told: &Told<'_>,
) -> Result<Vec<Fact>, AlertError> {
    let Some(run) = told.run(firing) else { return Ok(Vec::new()) };
    let pairs = new_pairs(firing, schedule, run, told);
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let mut judged: Vec<(ReportPair<'_>, Result<Judged, AlertError>)> =
        pairs.into_iter().map(|pair| (pair, pair.judge(told.projection, told.store))).collect();
    // All reports of a firing are one family: it raises a false alarm in one of twenty, however many metrics there are.
    let found = judged.iter_mut().filter_map(|(_, judged)| judged.as_mut().ok());
    holm(&mut found.flat_map(|judged| &mut judged.comparison.metrics).collect::<Vec<_>>());
    let mut record = ComparisonRecord {
        schedule: firing.schedule.clone(),
        at_millis: told.now_millis,
        reports: Vec::new(),
    };
    let (mut changes, mut spec) = (Vec::new(), None);
    for (pair, judged) in judged {
        let (older, newer) = pair.ids();
        let (compared, worse, notes) = match &judged {
            Err(error) => (0, Vec::new(), vec![told.plain(&error.to_string())]),
            Ok(judged) => (
                judged.comparison.metrics.len(),
                worse_of(&judged.comparison.metrics),
                lines_of(&judged.comparison.not_compared),
            ),
        };
        let step = pair.step.to_owned();
        record.reports.push(ComparedReport { step, older, newer, compared, worse: worse.len(), notes });
        if let Ok(judged) = judged
            && !worse.is_empty()
        {
            let spec = spec.get_or_insert_with(|| load(told.spec, &[], &ProcessEnvironment).ok());
            changes.push(judged.told(&pair, worse, spec.as_ref()));
        }
    }
    let mut facts = vec![record.fact(&firing.key())?];
    if !changes.is_empty() {
        let mut alert = blank(firing, schedule, AlertKind::Regression, told.now_millis);
        alert.run = Some(run.id.clone());
        alert.text = text_of(&firing.schedule, &changes);
        alert.look = changes.iter().flat_map(look_at).collect();
        alert.reports = changes;
        facts.push(told.intend(firing, webhook, &alert)?);
    }
    Ok(facts)
}

/// The reports of a firing, each with the one before it, but for those that this schedule has compared already.
fn new_pairs<'a>(
    firing: &FiringRecord,
    schedule: &Schedule,
    run: &'a RunRow,
    told: &'a Told<'_>,
) -> Vec<ReportPair<'a>> {
    let book = AlertBook::of(told.projection);
    let before = book.comparisons_of(&firing.schedule);
    let is_known = |pair: &ReportPair<'_>| {
        let (_, newer) = pair.ids();
        let last = before.iter().find_map(|(_, record)| record.reports.iter().find(|r| r.step == pair.step));
        last.is_some_and(|last| last.newer.fingerprint == newer.fingerprint)
    };
    let evals =
        run.steps.iter().filter(|step| step.kind == StepKind::Eval && schedule.jobs.contains(&step.job));
    let pairs = evals.filter_map(|step| ReportPair::of(told.projection, run, &step.name));
    pairs.filter(|pair| !is_known(pair)).collect()
}

/// Metrics that got worse by more than chance, the surest first.
fn worse_of(metrics: &[MetricChange]) -> Vec<MetricChange> {
    let mut worse: Vec<MetricChange> =
        metrics.iter().filter(|metric| metric.p_adjusted <= ALPHA).cloned().collect();
    worse.sort_by(|a, b| a.p_adjusted.total_cmp(&b.p_adjusted));
    worse
}

fn text_of(schedule: &str, changes: &[ReportChange]) -> String {
    let mut lines = Vec::new();
    for change in changes {
        let (step, old, new) = (&change.step, &change.older.run, &change.newer.run);
        lines.push(format!("{schedule}: {step} of run {new} is worse than of run {old}"));
        lines.extend(change.worse.iter().take(MOST_LINES).map(MetricChange::line));
        if change.worse.len() > MOST_LINES {
            lines.push(format!("and {} metrics more", change.worse.len() - MOST_LINES));
        }
        match &change.first_changed {
            Some(changed) => lines.push(format!("first changed: {}: {}", changed.step, changed.why)),
            None => lines.push("first changed: the records of the lineages do not tell".to_owned()),
        }
    }
    lines.join("\n")
}

fn look_at(change: &ReportChange) -> Vec<String> {
    let (old, new) = (quoted(&change.older.run), quoted(&change.newer.run));
    let why = change.first_changed.as_ref().map(|changed| quoted(&changed.step));
    let why = why.map(|step| format!("cupola why {step} --run {new}"));
    why.into_iter().chain([format!("cupola diff {old} {new}")]).collect()
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:@".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests;
