//! Event files: reading them as they grow, and folding them into the read model.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use cupola_specs::contract::{CheckpointRecord, Event, EventBody, Failure};

use super::{MetricSeries, ProgressView, Projection, RunView, SampleView, StateError, StepView, WantedRoom};

const RATE_WINDOW_MILLIS: i64 = 30_000;
const MAX_SAMPLES: usize = 64;

/// A reader of a growing `events.jsonl`.
#[derive(Debug, Clone)]
pub struct EventTail {
    path: PathBuf,
    offset: u64,
}

impl EventTail {
    /// A reader that starts at `offset`.
    pub fn new(path: PathBuf, offset: u64) -> Self {
        Self { path, offset }
    }

    /// Where the next unread line starts.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The whole lines since the last call; a missing file has none, and a line that is no event is left out.
    pub fn read(&mut self) -> Result<Vec<Event>, StateError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(StateError::Io { path: self.path.clone(), source }),
        };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.offset))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(StateError::io(&self.path))?;
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        self.offset += end as u64 + 1;
        let lines = bytes[..end].split(|byte| *byte == b'\n');
        Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }
}

/// What the events of a step's attempts add up to.
#[derive(Debug, Clone, Default)]
pub struct EventFold {
    /// How far the newest attempt is.
    pub progress: Option<ProgressView>,
    /// Curves by metric.
    pub metrics: BTreeMap<String, MetricSeries>,
    /// Samples, newest last.
    pub samples: Vec<SampleView>,
    /// Warnings: code and message.
    pub warnings: Vec<(String, String)>,
    /// The newest checkpoint.
    pub checkpoint: Option<CheckpointRecord>,
    /// The facts of a `finished` event.
    pub finished: Option<serde_json::Map<String, serde_json::Value>>,
    /// A `failed` event.
    pub failed: Option<Failure>,
    /// The first event's worker.
    pub worker_pid: Option<u32>,
    recent: Vec<(i64, f64, String)>,
}

impl EventFold {
    /// Folds one event in.
    pub fn push(&mut self, event: Event) {
        match event.body {
            EventBody::Started { pid, .. } => {
                self.worker_pid = Some(pid);
                self.recent.clear();
                self.progress = None;
                self.finished = None;
                self.failed = None;
            }
            EventBody::Progress { done, total, unit, stage } => {
                let rate = self.rate(event.at_millis, done, &stage);
                self.progress =
                    Some(ProgressView { done, total, unit, stage, at_millis: event.at_millis, rate });
            }
            EventBody::Metric { name, step, value } => {
                self.metrics.entry(name).or_default().push(step, value);
            }
            EventBody::Checkpoint(record) => self.checkpoint = Some(record),
            EventBody::Sample { step, prompt, text } => {
                self.samples.push(SampleView { step, prompt, text });
                if self.samples.len() > MAX_SAMPLES {
                    self.samples.remove(0);
                }
            }
            EventBody::Warning { code, message } => self.warnings.push((code, message)),
            EventBody::Finished { summary } => self.finished = Some(summary),
            EventBody::Failed(failure) => self.failed = Some(failure),
            EventBody::Log { .. } => {}
        }
    }

    fn rate(&mut self, at: i64, done: f64, stage: &str) -> f64 {
        self.recent
            .retain(|(then, before, of)| at - then <= RATE_WINDOW_MILLIS && of == stage && *before <= done);
        self.recent.push((at, done, stage.to_owned()));
        match self.recent.first() {
            Some((then, before, _)) if at > *then => (done - before) / ((at - then) as f64 / 1000.0),
            _ => 0.0,
        }
    }
}

/// A run with everything that its plan and its events add: parameters, progress, curves, samples, warnings. The newest run where `id` is
/// none.
pub fn load_run(projection: &Projection, id: Option<&str>) -> Result<Option<RunView>, StateError> {
    let found = match id {
        Some(id) => projection.run(id),
        None => projection.latest_run(None),
    };
    let Some(row) = found else { return Ok(None) };
    let mut run = RunView { waits_for: WantedRoom::of(projection, row), ..RunView::of(row) };
    for (step, row) in run.steps.iter_mut().zip(&row.steps) {
        if let Some(planned) = projection.planned_step(&run.id, &row.name)? {
            step.plan(planned);
        }
        fill_step(projection, step)?;
    }
    Ok(Some(run))
}

/// Adds attempts, artifact and events to a bare step of the projection.
pub fn fill_step(projection: &Projection, step: &mut StepView) -> Result<(), StateError> {
    step.attempts = projection.attempts(&step.fingerprint).to_vec();
    step.peak_rss_bytes = step.attempts.iter().map(|attempt| attempt.peak_rss_bytes).max().unwrap_or(0);
    step.cpu_millis = step.attempts.iter().map(|attempt| attempt.cpu_millis).sum();
    step.checkpoint = projection.checkpoint(&step.fingerprint).cloned();
    if let Some(artifact) = projection.artifacts().get(&step.fingerprint) {
        step.artifact = Some(artifact.path.clone());
        step.made_by = Some(artifact.run.clone());
        step.summary = artifact.summary.clone();
        if step.cached {
            step.started_millis = step.attempts.first().map(|attempt| attempt.submitted_millis);
            step.finished_millis = step.started_millis.map(|_| artifact.created_millis);
        }
    }
    let mut fold = EventFold::default();
    for attempt in &step.attempts {
        for event in EventTail::new(events_file(&attempt.dir), 0).read()? {
            fold.push(event);
        }
    }
    step.progress = fold.progress;
    step.metrics = fold.metrics;
    step.samples = fold.samples;
    step.warnings = fold.warnings;
    if step.checkpoint.is_none() && !step.state.is_done() {
        step.checkpoint = fold.checkpoint;
    }
    Ok(())
}

/// The event file of an attempt.
pub fn events_file(attempt: &Path) -> PathBuf {
    attempt.join("events.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_written_line_is_read_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let line = r#"{"at_millis":1,"event":"log","message":"a"}"#;
        std::fs::write(&path, format!("{line}\n{}", &line[..10])).unwrap();
        let mut tail = EventTail::new(path.clone(), 0);
        assert_eq!(tail.read().unwrap().len(), 1);
        assert_eq!(tail.read().unwrap().len(), 0);
        std::fs::write(&path, format!("{line}\n{line}\n")).unwrap();
        assert_eq!(tail.read().unwrap().len(), 1);
        assert_eq!(tail.offset(), 2 * (line.len() as u64 + 1));
    }

    #[test]
    fn the_rate_is_of_one_stage_only() {
        let mut fold = EventFold::default();
        for (at, done, stage) in
            [(0, 0.0, "read"), (1000, 500.0, "read"), (2000, 0.0, "train"), (4000, 10.0, "train")]
        {
            let body = EventBody::Progress { done, total: 1e3, unit: "tokens".into(), stage: stage.into() };
            fold.push(Event { at_millis: at, body });
        }
        assert!((fold.progress.unwrap().rate - 5.0).abs() < 1e-9);
    }
}
