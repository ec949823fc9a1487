//! The event stream's writer. One line is one `write`, so a reader never sees half of two lines; progress and metrics are
//! rate-limited, but the newest one held back is written before any other event and at the end. What must survive a crash
//! (`checkpoint`, `finished`, `failed`) is fsynced before the call returns.
//!
//! The sinks of telemetry hear of every metric and sample before the rate limit; what they warn of becomes events.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cupola_specs::contract::{CheckpointRecord, Event, EventBody, Failure};

use super::JobError;
use crate::telemetry::{End, Sinks};

/// Shortest time between two progress events of one stage, and between two values of one metric.
const QUIET: Duration = Duration::from_millis(200);

/// Appends events to a job's stream. It may be shared between threads.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// When something of this key (stage or metric) was last written, and the newest event held back since.
    paced: BTreeMap<String, (Instant, Option<Event>)>,
    /// The first write that failed: reported when the step ends, since progress has no way to say so.
    broken: Option<std::io::Error>,
    sinks: Sinks,
}

impl EventWriter {
    /// Opens a stream for appending.
    pub fn open(path: &Path) -> Result<Self, JobError> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(|source| JobError::Io { path: path.to_path_buf(), source })?;
        let state = State { file, paced: BTreeMap::new(), broken: None, sinks: Sinks::default() };
        Ok(Self { path: path.to_path_buf(), state: Mutex::new(state) })
    }

    /// Gives every metric and sample from here on to sinks, too.
    pub(crate) fn feed(&self, sinks: Sinks) {
        self.lock().sinks = sinks;
    }

    /// A training loop begins after `done` optimiser steps: sinks forget what they were told of later ones. A step that trains several times
    /// names each one's `series`.
    pub(crate) fn begin_curves(&self, series: &str, done: u64) {
        let mut state = self.lock();
        state.sinks.begin(series, done);
        state.release_warnings();
    }

    /// Says how far the step is; rate-limited for each stage.
    pub fn progress(&self, done: f64, total: f64, unit: &str, stage: &str) {
        let body = EventBody::Progress { done, total, unit: unit.into(), stage: stage.into() };
        self.paced(format!("progress {stage}"), body);
    }

    /// Adds a point to a curve; rate-limited for each name.
    pub fn metric(&self, name: &str, step: u64, value: f64) {
        self.paced(format!("metric {name}"), EventBody::Metric { name: name.into(), step, value });
    }

    /// Writes a line for people.
    pub fn log(&self, message: impl Into<String>) {
        self.write(EventBody::Log { message: message.into() });
    }

    /// Records a text that the model wrote.
    pub fn sample(&self, step: u64, prompt: &str, text: &str) {
        self.write(EventBody::Sample { step, prompt: prompt.into(), text: text.into() });
    }

    /// Records something that a user should know and that did not stop the step.
    pub fn warning(&self, code: &str, message: impl Into<String>) {
        self.write(EventBody::Warning { code: code.into(), message: message.into() });
    }

    /// Records a state that is durable already; the record is durable when this returns.
    pub fn checkpoint(&self, record: CheckpointRecord) -> Result<(), JobError> {
        self.write_durably(EventBody::Checkpoint(record))
    }

    /// Writes the first line.
    pub fn started(&self, token: &str) -> Result<(), JobError> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.write_durably(EventBody::Started { token: token.into(), pid: std::process::id(), version })
    }

    /// Writes the last line of a step that succeeded. Fails if any earlier event was lost.
    pub fn finished(&self, summary: super::Summary) -> Result<(), JobError> {
        self.end_sinks(End::Finished);
        self.flush()?;
        self.write_durably(EventBody::Finished { summary })
    }

    /// Writes the last line of a step that failed.
    pub fn failed(&self, failure: Failure) -> Result<(), JobError> {
        self.end_sinks(match failure.code.as_str() {
            Failure::WENT_BACK => End::WentBack,
            super::error::CANCELLED => End::Stopped,
            _ => End::Failed,
        });
        self.write_durably(EventBody::Failed(failure))
    }

    /// Writes what the rate limit holds back; reports the first event that could not be written.
    pub fn flush(&self) -> Result<(), JobError> {
        let mut state = self.lock();
        state.release();
        match state.broken.take() {
            Some(source) => Err(JobError::io(&self.path, source)),
            None => Ok(()),
        }
    }

    fn end_sinks(&self, end: End) {
        let mut state = self.lock();
        state.sinks.end(end);
        state.release_warnings();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves a whole line or none behind: the state stays usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, body: EventBody) {
        let event = at_now(body);
        let mut state = self.lock();
        state.release();
        state.append(&event);
        state.feed(&event);
    }

    fn write_durably(&self, body: EventBody) -> Result<(), JobError> {
        let mut state = self.lock();
        state.release();
        state.append(&at_now(body));
        let synced = match state.broken.take() {
            Some(error) => Err(error),
            None => state.file.sync_data(),
        };
        synced.map_err(|source| JobError::io(&self.path, source))
    }

    fn paced(&self, key: String, body: EventBody) {
        let event = at_now(body);
        let now = Instant::now();
        let mut state = self.lock();
        state.feed(&event);
        let due = state.paced.get(&key).is_none_or(|(last, _)| now.duration_since(*last) >= QUIET);
        if due {
            state.append(&event);
            state.paced.insert(key, (now, None));
        } else if let Some((_, held)) = state.paced.get_mut(&key) {
            *held = Some(event);
        }
    }
}

impl Drop for EventWriter {
    fn drop(&mut self) {
        self.lock().release();
    }
}

impl State {
    fn release(&mut self) {
        let mut held: Vec<Event> = self.paced.values_mut().filter_map(|(_, held)| held.take()).collect();
        held.sort_by_key(|event| event.at_millis);
        for event in held {
            self.append(&event);
        }
    }

    fn feed(&mut self, event: &Event) {
        self.sinks.take(event);
        self.release_warnings();
    }

    fn release_warnings(&mut self) {
        for (code, message) in self.sinks.warnings() {
            self.append(&at_now(EventBody::Warning { code: code.to_owned(), message }));
        }
    }

    fn append(&mut self, event: &Event) {
        let written = serde_json::to_vec(event).map_err(std::io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)
        });
        if let Err(error) = written {
            self.broken.get_or_insert(error);
        }
    }
}

fn at_now(body: EventBody) -> Event {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Event { at_millis: since.as_millis() as i64, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<Event> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn the_last_of_a_burst_is_never_lost_and_stands_before_what_follows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let events = EventWriter::open(&path).unwrap();
        for step in 0..1000 {
            events.metric("loss", step, 1.0);
            events.progress(step as f64, 1000.0, "tokens", "train");
        }
        events.log("after");
        let seen = lines(&path);
        assert!(seen.len() < 100, "{} lines", seen.len());
        assert!(seen.iter().any(|e| matches!(e.body, EventBody::Metric { step: 999, .. })));
        assert!(seen.iter().any(|e| matches!(e.body, EventBody::Progress { done, .. } if done > 998.0)));
        assert!(matches!(seen.last().unwrap().body, EventBody::Log { .. }));
    }

    #[test]
    fn a_stream_that_cannot_be_written_fails_the_step_at_its_end() {
        let events = EventWriter::open(Path::new("/dev/full")).unwrap();
        events.log("lost");
        assert!(matches!(events.finished(super::super::Summary::new()), Err(JobError::Io { .. })));
    }
}
