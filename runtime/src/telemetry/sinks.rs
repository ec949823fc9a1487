//! The sinks of one attempt, fed by its event stream. They are opened by the first number; a training loop that begins says at which step.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cupola_specs::contract::{Event, EventBody, TelemetryTargets};

use super::TelemetryError;
use super::lines::{LineFile, LineFormat};
use super::mlflow::Mlflow;
use super::queue::Queue;
use super::record::{End, Origin, Point, PointValue, Sink};
use super::tensorboard::EventFile;
use super::wandb::Wandb;

/// How long what is still to be sent may take after the end of a training loop; only the end of the step waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Numbers of these names are measured after as many steps as they are given.
const MEASURED_AFTER: &str = "validation";

/// Milliseconds since the Unix epoch.
pub(super) fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

/// Every sink of an attempt.
#[derive(Default)]
pub(crate) struct Sinks {
    wanted: Option<(TelemetryTargets, Origin)>,
    open: Option<Vec<(&'static str, Box<dyn Sink>)>>,
    /// Sinks of training loops that are over, which may have something to send still.
    leaving: Vec<Box<dyn Sink>>,
    warnings: Vec<(&'static str, String)>,
}

impl std::fmt::Debug for Sinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.open.iter().flatten().map(|(name, _)| name);
        f.debug_struct("Sinks").field("open", &names.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl Sinks {
    /// The sinks that a job file names.
    pub(crate) fn new(targets: &TelemetryTargets, origin: Origin) -> Self {
        let TelemetryTargets { tensorboard, csv, jsonl, mlflow, wandb, positions: _, peak_flops: _ } =
            targets;
        let is_wanted =
            tensorboard.is_some() || csv.is_some() || jsonl.is_some() || mlflow.is_some() || wandb.is_some();
        Self { wanted: is_wanted.then(|| (targets.clone(), origin)), ..Self::default() }
    }

    /// A training loop begins at an optimiser step. A step that trains several times names each one's `series`.
    pub(crate) fn begin(&mut self, series: &str, first_step: u64) {
        self.close(End::Finished);
        let Some((targets, origin)) = &self.wanted else { return };
        let opened = open_all(targets, origin, series, first_step);
        let mut sinks = Vec::new();
        for (name, sink) in opened {
            match sink {
                Ok(sink) => sinks.push((name, sink)),
                Err(error) => self.warnings.push(off(name, &error)),
            }
        }
        self.open = Some(sinks);
    }

    /// Takes what the sinks are interested in.
    pub(crate) fn take(&mut self, event: &Event) {
        if self.wanted.is_none() {
            return;
        }
        let (step, value) = match &event.body {
            EventBody::Metric { name, step, value } => {
                let before = u64::from(name.starts_with(MEASURED_AFTER));
                (step.saturating_sub(before), PointValue::Metric(name, *value))
            }
            EventBody::Sample { step, prompt, text } => {
                (step.saturating_sub(1), PointValue::Sample(prompt, text))
            }
            _ => return,
        };
        if self.open.is_none() {
            self.begin("", 0);
        }
        let point = Point { at_millis: event.at_millis, step, value };
        let (open, warnings) = (self.open.get_or_insert_default(), &mut self.warnings);
        open.retain_mut(|(name, sink)| {
            let taken = sink.take(&point);
            warnings.extend(sink.warnings());
            taken.map_err(|error| warnings.push(off(name, &error))).is_ok()
        });
    }

    /// Tells every sink how the attempt ended.
    pub(crate) fn end(&mut self, end: End) {
        self.close(end);
        for mut sink in std::mem::take(&mut self.leaving) {
            sink.wait();
            self.warnings.extend(sink.warnings());
        }
    }

    /// What a user should know since the last call: code and message.
    pub(crate) fn warnings(&mut self) -> Vec<(&'static str, String)> {
        std::mem::take(&mut self.warnings)
    }

    fn close(&mut self, end: End) {
        for (_, mut sink) in self.open.take().unwrap_or_default() {
            sink.end(end, PATIENCE);
            self.leaving.push(sink);
        }
    }
}

type Opened = Result<Box<dyn Sink>, TelemetryError>;

fn open_all(
    targets: &TelemetryTargets,
    origin: &Origin,
    series: &str,
    first_step: u64,
) -> Vec<(&'static str, Opened)> {
    let boxed = |file: LineFile| -> Box<dyn Sink> { Box::new(file) };
    let lines = |folder: &std::path::Path, format| {
        LineFile::open(&folder.join(series), format, first_step).map(boxed)
    };
    let mut opened: Vec<(&'static str, Opened)> = Vec::new();
    if let Some(folder) = &targets.csv {
        opened.push(("metrics.csv", lines(folder, LineFormat::Csv)));
    }
    if let Some(folder) = &targets.jsonl {
        opened.push(("metrics.jsonl", lines(folder, LineFormat::Jsonl)));
    }
    if let Some(folder) = &targets.tensorboard {
        let file = EventFile::open(&folder.join(series), origin, first_step);
        opened.push(("TensorBoard", file.map(|file| -> Box<dyn Sink> { Box::new(file) })));
    }
    let boxed = |queue: Queue| -> Box<dyn Sink> { Box::new(queue) };
    if let Some(target) = &targets.mlflow {
        let backend = Mlflow::new(target, origin, series, &targets.positions);
        opened.push(("MLflow", backend.and_then(|backend| Queue::start("MLflow", backend)).map(boxed)));
    }
    if let Some(target) = &targets.wandb {
        let backend = Wandb::new(target, origin, series, &targets.positions);
        opened.push(("W&B", backend.and_then(|backend| Queue::start("W&B", backend)).map(boxed)));
    }
    opened
}

fn off(name: &str, error: &TelemetryError) -> (&'static str, String) {
    ("telemetry", format!("{name} is off for the rest of this attempt: {error}; training goes on"))
}
