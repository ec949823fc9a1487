//! The way to a server: a bounded queue and a thread that sends what is in it. Training puts in and goes on; it waits for nobody.
//!
//! A row is all numbers of one optimiser step. One row each [`QUIET`] is kept, and each one that has more to say than the row before it
//! (a validation, memory). What does not fit into the queue, or is refused, is counted and told by a warning.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::TelemetryError;
use super::record::{End, Point, PointValue, Sink};

/// Shortest time between two rows that say the same.
const QUIET: Duration = Duration::from_millis(200);
/// Rows that wait at most: above half an hour of them.
const MOST_ROWS: usize = 10_000;
/// Rows that are sent at once.
const BATCH: usize = 50;
/// Longest time that a row waits for others to be sent with.
const LINGER: Duration = Duration::from_secs(2);
/// Shortest and longest time until a busy server is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// All numbers of one optimiser step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// When the newest of them was there, milliseconds since the Unix epoch.
    pub(super) at_millis: i64,
    /// The step.
    pub(super) step: u64,
    /// Names and values.
    pub(super) metrics: Vec<(String, f64)>,
}

/// What a server is told. Each call may take as long as the server does.
pub(super) trait Backend: Send + 'static {
    /// Opens the run, or opens it again.
    fn begin(&mut self) -> Result<(), TelemetryError>;

    /// Sends rows.
    fn send(&mut self, rows: &[Row]) -> Result<(), TelemetryError>;

    /// Tells the end.
    fn end(&mut self, end: End) -> Result<(), TelemetryError>;
}

/// A sink whose other end is a server.
pub(super) struct Queue {
    name: &'static str,
    shared: Arc<Shared>,
    /// The row that is being filled.
    row: Option<Row>,
    /// How many numbers the one before it had.
    num_before: usize,
    /// When the newest one went into the queue.
    kept: Option<Instant>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    rows: VecDeque<Row>,
    end: Option<(End, Instant)>,
    is_done: bool,
    /// Rows that were dropped and not told of yet.
    num_dropped: u64,
    /// Why the server took nothing the last time; told once until it takes something again.
    problem: Option<String>,
    is_told: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is whole between two calls.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Starts the thread of a server.
    pub(super) fn start(name: &'static str, backend: impl Backend) -> Result<Self, TelemetryError> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(format!("telemetry-{name}"));
        let spawned = thread.spawn(move || Sending { backend, shared: theirs, is_open: false }.run());
        spawned.map_err(|error| TelemetryError::Refused(format!("no thread for it: {error}")))?;
        Ok(Self { name, shared, row: None, num_before: 0, kept: None })
    }

    /// The row is whole: it goes into the queue, or is left out where one like it went in a moment ago.
    fn finish_row(&mut self, is_last: bool) {
        let Some(row) = self.row.take() else { return };
        let says_more = row.metrics.len() > self.num_before;
        self.num_before = row.metrics.len();
        if says_more || is_last || self.kept.is_none_or(|at| at.elapsed() >= QUIET) {
            self.kept = Some(Instant::now());
            let mut state = self.shared.lock();
            if state.rows.len() < MOST_ROWS {
                state.rows.push_back(row);
                self.shared.changed.notify_all();
            } else {
                state.num_dropped += 1;
            }
        }
    }
}

impl Sink for Queue {
    fn take(&mut self, point: &Point<'_>) -> Result<(), TelemetryError> {
        let PointValue::Metric(name, value) = point.value else { return Ok(()) };
        if self.row.as_ref().is_some_and(|row| row.step != point.step) {
            self.finish_row(false);
        }
        let empty = || Row { at_millis: 0, step: point.step, metrics: Vec::new() };
        let row = self.row.get_or_insert_with(empty);
        row.at_millis = point.at_millis;
        row.metrics.push((name.to_owned(), value));
        Ok(())
    }

    fn end(&mut self, end: End, patience: Duration) {
        self.finish_row(true);
        self.shared.lock().end = Some((end, Instant::now() + patience));
        self.shared.changed.notify_all();
    }

    fn wait(&mut self) {
        let mut state = self.shared.lock();
        let Some((_, until)) = state.end else { return };
        while !state.is_done && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if !state.is_done {
            // Its thread waits for an answer still; what it has not taken up it never will.
            state.num_dropped += std::mem::take(&mut state.rows).len() as u64;
        }
    }

    fn warnings(&mut self) -> Vec<(&'static str, String)> {
        let mut state = self.shared.lock();
        let mut warnings = Vec::new();
        if let Some(problem) = state.problem.as_ref().filter(|_| !state.is_told) {
            warnings.push(("telemetry", format!("{} takes nothing: {problem}; training goes on", self.name)));
            state.is_told = true;
        }
        let num_dropped = std::mem::take(&mut state.num_dropped);
        if num_dropped > 0 {
            let rows = if num_dropped == 1 { "row" } else { "rows" };
            let message =
                format!("{num_dropped} {rows} of metrics did not reach {} and are dropped", self.name);
            warnings.push(("telemetry_dropped", message));
        }
        warnings
    }
}

/// The thread's end.
struct Sending<B> {
    backend: B,
    shared: Arc<Shared>,
    is_open: bool,
}

impl<B: Backend> Sending<B> {
    fn run(mut self) {
        let mut wait = RETRY.0;
        loop {
            let (rows, end) = self.next();
            match self.tell(&rows, end) {
                Err(error) if error.is_busy() => {
                    self.put_back(rows, error.to_string());
                    if !self.pause(wait) {
                        break;
                    }
                    wait = (wait * 2).min(RETRY.1);
                }
                told => {
                    wait = RETRY.0;
                    let mut state = self.shared.lock();
                    state.problem = None;
                    if let Err(error) = told {
                        state.num_dropped += rows.len() as u64;
                        state.problem = Some(error.to_string());
                    } else {
                        state.is_told = false;
                    }
                    if end.is_some() {
                        break;
                    }
                }
            }
        }
        let mut state = self.shared.lock();
        state.num_dropped += std::mem::take(&mut state.rows).len() as u64;
        state.is_done = true;
        self.shared.changed.notify_all();
    }

    /// Waits for rows that are worth a request, or for the end; the end comes with the last rows.
    fn next(&self) -> (Vec<Row>, Option<End>) {
        let mut state = self.shared.lock();
        let mut since = None;
        loop {
            if !state.rows.is_empty() {
                since.get_or_insert_with(Instant::now);
            }
            let is_due = since.is_some_and(|since: Instant| since.elapsed() >= LINGER);
            if state.end.is_some() || is_due || state.rows.len() >= BATCH {
                let count = state.rows.len().min(BATCH);
                let rows = state.rows.drain(..count).collect();
                let end = state.end.map(|(end, _)| end).filter(|_| state.rows.is_empty());
                return (rows, end);
            }
            let changed = self.shared.changed.wait_timeout(state, LINGER);
            state = changed.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn tell(&mut self, rows: &[Row], end: Option<End>) -> Result<(), TelemetryError> {
        if !self.is_open {
            self.backend.begin()?;
            self.is_open = true;
        }
        if !rows.is_empty() {
            self.backend.send(rows)?;
        }
        end.map_or(Ok(()), |end| self.backend.end(end))
    }

    /// Rows that a busy server did not take go first the next time.
    fn put_back(&self, rows: Vec<Row>, problem: String) {
        let mut state = self.shared.lock();
        for row in rows.into_iter().rev() {
            state.rows.push_front(row);
        }
        state.problem = Some(problem);
    }

    /// Waits before the next try; false where there is no time for one.
    fn pause(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        let mut state = self.shared.lock();
        while Instant::now() < until {
            if state.end.is_some_and(|(_, deadline)| Instant::now() >= deadline) {
                return false;
            }
            // Near the end it is tried more often than a long wait would have it.
            if state.end.is_some() && until.saturating_duration_since(Instant::now()) > RETRY.0 {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Takes rows after it was busy for a while.
    struct Fake {
        busy: u64,
        tries: Arc<AtomicU64>,
        steps: Arc<Mutex<Vec<u64>>>,
        delay: Duration,
    }

    impl Backend for Fake {
        fn begin(&mut self) -> Result<(), TelemetryError> {
            Ok(())
        }

        fn send(&mut self, rows: &[Row]) -> Result<(), TelemetryError> {
            std::thread::sleep(self.delay);
            if self.tries.fetch_add(1, Ordering::SeqCst) < self.busy {
                return Err(TelemetryError::Busy("not now".into()));
            }
            self.steps.lock().unwrap().extend(rows.iter().map(|row| row.step));
            Ok(())
        }

        fn end(&mut self, _end: End) -> Result<(), TelemetryError> {
            Ok(())
        }
    }

    fn fake(busy: u64, delay: Duration) -> (Queue, Arc<Mutex<Vec<u64>>>) {
        let steps = Arc::<Mutex<Vec<u64>>>::default();
        let backend = Fake { busy, tries: Arc::default(), steps: Arc::clone(&steps), delay };
        (Queue::start("fake", backend).unwrap(), steps)
    }

    fn point(step: u64, name: &'static str) -> Point<'static> {
        Point { at_millis: 1, step, value: PointValue::Metric(name, 1.0) }
    }

    #[test]
    fn rows_that_say_more_and_the_last_one_are_kept_and_a_busy_server_gets_them_later() {
        let (mut queue, steps) = fake(1, Duration::ZERO);
        for step in 0..100 {
            queue.take(&point(step, "loss")).unwrap();
            if step == 50 {
                queue.take(&point(step, "validation_loss")).unwrap();
            }
        }
        queue.end(End::Finished, Duration::from_secs(20));
        queue.wait();
        assert_eq!(*steps.lock().unwrap(), [0, 50, 99]);
        let told: Vec<_> = queue.warnings();
        assert!(told.iter().all(|(code, _)| *code != "telemetry_dropped"), "{told:?}");
    }

    #[test]
    fn a_server_that_does_not_answer_costs_no_time_and_what_it_misses_is_counted() {
        let (mut queue, _) = fake(u64::MAX, Duration::from_millis(50));
        let begin = Instant::now();
        let num_steps = MOST_ROWS as u64 + 500;
        for step in 0..num_steps {
            // As if time went by, so that none is left out.
            queue.kept = None;
            queue.take(&point(step, "loss")).unwrap();
        }
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        let begin = Instant::now();
        queue.end(End::Finished, Duration::from_millis(300));
        queue.wait();
        assert!(begin.elapsed() < Duration::from_secs(2));
        let told = queue.warnings();
        assert!(told.iter().any(|(code, message)| *code == "telemetry" && message.contains("not now")));
        let dropped = told.iter().find(|(code, _)| *code == "telemetry_dropped").unwrap();
        let count: u64 = dropped.1.split(' ').next().unwrap().parse().unwrap();
        assert!((num_steps - BATCH as u64..=num_steps).contains(&count), "{count} of {num_steps}");
    }
}
