//! The daemon's part in alerts: what is told of a firing, and the thread that delivers it beside the ticks.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Engine, Launcher, WatchedSchedule};
use crate::alert::{Desk, HttpSender, Outbox, ProcessSecrets, Told, tell};
use crate::bundle::Redactor;
use crate::run::Signals;
use crate::schedule::FiringRecord;
use crate::state::{Fact, Projection, StateError, now_millis};
use crate::store::Store;

/// Between two looks for what is due.
const TURN: Duration = Duration::from_millis(500);

/// What is to be recorded before the end of a firing is. What can't be told is said in the log; it never holds up a schedule.
pub(super) fn alerts_of(
    ended: &FiringRecord,
    watched: &WatchedSchedule,
    projection: &Projection,
    now_millis: i64,
) -> Vec<Fact> {
    if watched.schedule.on_failure.is_none() && watched.schedule.on_regression.is_none() {
        return Vec::new();
    }
    let redact = redaction(watched);
    let store = Store::new(projection.dir());
    let told = Told { projection, store: &store, spec: &watched.spec, redact: &redact, now_millis };
    tell(ended, &watched.schedule, &told).unwrap_or_else(|error| {
        tracing::error!("{}: nothing can be told of it: {error}", ended.key());
        Vec::new()
    })
}

/// Takes secrets and home folders out of what leaves the machine, as a bundle does.
fn redaction(watched: &WatchedSchedule) -> impl Fn(&str) -> String {
    let environment: Vec<(String, String)> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    let hooks = [&watched.schedule.on_failure, &watched.schedule.on_regression];
    let secrets =
        hooks.into_iter().flatten().flat_map(|hook| std::iter::once(&hook.url).chain(&hook.signing_key));
    let names: Vec<String> = secrets.map(|secret| secret.name.clone()).collect();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let redactor = Redactor::new(&environment, &names, home.as_deref());
    move |text| match &redactor {
        Ok(redactor) => redactor.redact(text).0,
        Err(error) => format!("(left out: {error})"),
    }
}

/// The engine as the outbox sees it: one journal, and no record while a firing's process takes the folder.
struct EngineDesk<L>(Arc<Mutex<Engine<L>>>);

impl<L: Launcher> EngineDesk<L> {
    fn engine(&self) -> MutexGuard<'_, Engine<L>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Launcher> Desk for EngineDesk<L> {
    fn projection(&mut self) -> Result<Arc<Projection>, StateError> {
        self.engine().projection()
    }

    fn record(&mut self, facts: Vec<Fact>) -> Result<bool, StateError> {
        self.engine().note(facts)
    }
}

/// The thread that delivers.
pub(super) struct Delivering(Option<JoinHandle<()>>);

impl Delivering {
    /// Waits for the end of what it does, so long and no longer.
    pub(super) fn wait(self, most: Duration) {
        let since = Instant::now();
        while self.0.as_ref().is_some_and(|thread| !thread.is_finished()) && since.elapsed() < most {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Delivers alerts until a signal comes, beside the ticks: a receiver that does not answer holds up no schedule.
pub(super) fn deliver<L: Launcher + 'static>(
    engine: &Arc<Mutex<Engine<L>>>,
    signals: &Signals,
) -> Delivering {
    let (desk, signals) = (EngineDesk(Arc::clone(engine)), signals.clone());
    let work = move || {
        let mut outbox = Outbox::new(desk, HttpSender::new(), Box::new(ProcessSecrets));
        while signals.count() == 0 {
            if let Err(error) = outbox.turn(&mut now_millis) {
                tracing::warn!("alerts: {error}");
            }
            std::thread::sleep(TURN);
        }
    };
    let started = std::thread::Builder::new().name("alerts".to_owned()).spawn(work);
    if let Err(error) = &started {
        tracing::error!("alerts are not delivered: no thread could be started: {error}");
    }
    Delivering(started.ok())
}
