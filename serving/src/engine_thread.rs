//! The engine's own thread. Tensor work blocks, so it never runs on the async threads; handlers talk to it through channels.
//!
//! The thread owns the engine and ends when the last [`EngineHandle`] is gone. An answer's channel is its lease: when the client is
//! gone the receiver is dropped, and the thread cancels the request before its next step. A [`Ticket`] bounds how many answers wait.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cupola_runtime::generate::{GenerateError, Output, Request, RequestId};
use cupola_runtime::job::StepError;
use cupola_specs::contract::ErrorClass;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::decoder::ServedEngine;
use crate::metrics::EngineMeter;

/// What the engine says about one request.
#[derive(Debug)]
pub(crate) enum Event {
    /// Its turn came, then: the step that began there was the first to run a part of its prompt.
    Begun(Instant),
    /// The next token, or the end.
    Output(Output),
    /// The request failed; nothing follows.
    Failed(GenerateFailure),
}

/// Why a request failed, in a form that can be sent to each of many requests.
#[derive(Debug, Clone)]
pub(crate) struct GenerateFailure {
    /// Whether the request itself is at fault.
    pub(crate) is_user_error: bool,
    /// In words.
    pub(crate) message: String,
}

impl From<&GenerateError> for GenerateFailure {
    fn from(error: &GenerateError) -> Self {
        let is_user_error = error.facts().class == ErrorClass::User;
        Self { is_user_error, message: error.to_string() }
    }
}

/// The outputs of one request. Dropping it cancels the request.
pub(crate) type Answer = mpsc::UnboundedReceiver<Event>;

struct Submission {
    request: Request,
    reply: mpsc::UnboundedSender<Event>,
}

/// A place in the server: a slot or a place in the line, for as long as it is held.
#[derive(Debug)]
pub(crate) struct Ticket(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// What handlers hold of the engine.
#[derive(Clone)]
pub(crate) struct EngineHandle {
    submissions: mpsc::UnboundedSender<Submission>,
    places: Arc<Semaphore>,
    num_places: usize,
    pulse: Arc<Pulse>,
}

/// Signs of life of the engine's thread.
struct Pulse {
    started: Instant,
    is_busy: AtomicBool,
    is_alive: AtomicBool,
    last_step_millis: AtomicU64,
    /// Steps that failed since the last one that did not.
    failed_steps: AtomicU32,
}

/// An engine whose steps fail one after another does not come back by itself.
const MOST_FAILED_STEPS: u32 = 3;

/// A step takes milliseconds; an engine that is busy and has not finished one for this long is stuck.
const STALLED: Duration = Duration::from_mins(1);

impl EngineHandle {
    /// Starts the thread; `num_places` are the answers that run and those that wait.
    pub(crate) fn start(
        engine: ServedEngine,
        num_places: usize,
        meter: EngineMeter,
    ) -> Result<Self, crate::ServeError> {
        let (submissions, inbox) = mpsc::unbounded_channel();
        let pulse = Arc::new(Pulse {
            started: Instant::now(),
            is_busy: AtomicBool::new(false),
            is_alive: AtomicBool::new(true),
            last_step_millis: AtomicU64::new(0),
            failed_steps: AtomicU32::new(0),
        });
        let thread_pulse = Arc::clone(&pulse);
        std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || {
                let (replies, line) = (BTreeMap::new(), VecDeque::new());
                EngineLoop { engine, inbox, replies, line, pulse: thread_pulse, meter }.run();
            })
            .map_err(crate::ServeError::Thread)?;
        Ok(Self { submissions, places: Arc::new(Semaphore::new(num_places)), num_places, pulse })
    }

    /// Takes places for `num_answers` answers; none where the line is full.
    pub(crate) fn take_places(&self, num_answers: usize) -> Option<Ticket> {
        Arc::clone(&self.places).try_acquire_many_owned(num_answers as u32).ok().map(Ticket)
    }

    /// The most answers that the server holds at once.
    pub(crate) fn num_places(&self) -> usize {
        self.num_places
    }

    /// Places that nobody holds.
    pub(crate) fn free_places(&self) -> usize {
        self.places.available_permits()
    }

    /// Sends a request to the engine.
    pub(crate) fn submit(&self, request: Request) -> Answer {
        let (reply, answer) = mpsc::unbounded_channel();
        // Where the thread is gone the reply's sender is dropped here, and the answer ends at once.
        let _ = self.submissions.send(Submission { request, reply });
        answer
    }

    /// The end of the last step in milliseconds since the start; none while there is work.
    pub(crate) fn idle_since(&self) -> Option<u64> {
        let is_busy = self.pulse.is_busy.load(Ordering::Relaxed);
        (!is_busy).then(|| self.pulse.last_step_millis.load(Ordering::Relaxed))
    }

    /// Whether the thread lives and, where it has work, finishes steps without an error.
    pub(crate) fn makes_progress(&self) -> bool {
        let last = Duration::from_millis(self.pulse.last_step_millis.load(Ordering::Relaxed));
        let is_stalled = self.pulse.is_busy.load(Ordering::Relaxed)
            && self.pulse.started.elapsed().saturating_sub(last) > STALLED;
        let is_failing = self.pulse.failed_steps.load(Ordering::Relaxed) >= MOST_FAILED_STEPS;
        self.pulse.is_alive.load(Ordering::Relaxed) && !is_stalled && !is_failing
    }
}

struct EngineLoop {
    engine: ServedEngine,
    inbox: mpsc::UnboundedReceiver<Submission>,
    replies: BTreeMap<RequestId, mpsc::UnboundedSender<Event>>,
    /// Requests whose turn has not come.
    line: VecDeque<RequestId>,
    pulse: Arc<Pulse>,
    meter: EngineMeter,
}

impl Drop for EngineLoop {
    fn drop(&mut self) {
        self.pulse.is_alive.store(false, Ordering::Relaxed);
    }
}

impl EngineLoop {
    fn run(mut self) {
        loop {
            if self.engine.is_idle() {
                self.pulse.is_busy.store(false, Ordering::Relaxed);
                let Some(submission) = self.inbox.blocking_recv() else { return };
                self.beat();
                self.meter.wake();
                self.pulse.is_busy.store(true, Ordering::Relaxed);
                self.accept(submission);
            }
            while let Ok(submission) = self.inbox.try_recv() {
                self.accept(submission);
            }
            self.cancel_abandoned();
            let since = Instant::now();
            let stepped = self.engine.step();
            self.tell_begun(since);
            match stepped {
                Ok(outputs) => {
                    // Before anybody hears of it: who looks at the numbers after an answer sees it in them.
                    self.measure();
                    self.pulse.failed_steps.store(0, Ordering::Relaxed);
                    for output in outputs {
                        self.deliver(output);
                    }
                }
                Err(error) => {
                    self.pulse.failed_steps.fetch_add(1, Ordering::Relaxed);
                    self.fail_all(&error);
                    self.measure();
                }
            }
            self.beat();
        }
    }

    fn measure(&mut self) {
        let load = (self.engine.num_running(), self.engine.num_waiting());
        self.meter.update(load, self.engine.stats());
    }

    fn beat(&self) {
        self.pulse.last_step_millis.store(self.pulse.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn accept(&mut self, submission: Submission) {
        match self.engine.submit(submission.request) {
            Ok(id) => {
                self.replies.insert(id, submission.reply);
                self.line.push_back(id);
            }
            Err(error) => {
                // The client may be gone already.
                let _ = submission.reply.send(Event::Failed(GenerateFailure::from(&error)));
            }
        }
    }

    fn cancel_abandoned(&mut self) {
        let gone: Vec<RequestId> =
            self.replies.iter().filter(|(_, reply)| reply.is_closed()).map(|(id, _)| *id).collect();
        for id in gone {
            self.replies.remove(&id);
            self.engine.cancel(id);
            self.meter.model().count_cancelled();
        }
    }

    /// Tells those who were in line until the step that began at `since`.
    fn tell_begun(&mut self, since: Instant) {
        while let Some(id) = self.line.pop_front_if(|id| !self.engine.is_waiting(*id)) {
            if let Some(reply) = self.replies.get(&id) {
                let _ = reply.send(Event::Begun(since));
            }
        }
    }

    fn deliver(&mut self, output: Output) {
        let id = output.id;
        let is_last = output.finished.is_some();
        if let Some(reply) = self.replies.get(&id) {
            // A receiver that is gone is found before the next step.
            let _ = reply.send(match &output.failure {
                Some(error) => Event::Failed(GenerateFailure::from(error)),
                None => Event::Output(output),
            });
        }
        if is_last {
            self.replies.remove(&id);
        }
    }

    fn fail_all(&mut self, error: &GenerateError) {
        tracing::error!(%error, requests = self.replies.len(), "the engine's step failed");
        // Whatever it is, no request of those that ran is at fault alone.
        let failure = GenerateFailure { is_user_error: false, message: error.to_string() };
        for (id, reply) in std::mem::take(&mut self.replies) {
            self.engine.cancel(id);
            let _ = reply.send(Event::Failed(failure.clone()));
        }
    }
}
