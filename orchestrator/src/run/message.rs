//! What the scheduler hears and what it says.

use cupola_specs::contract::Failure;

use crate::state::{RunState, StepMove};

/// A step as the scheduler sees it.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its fingerprint: the source of its jitter.
    pub fingerprint: String,
    /// Indices of the steps that it waits for.
    pub needs: Vec<usize>,
    /// Core slots.
    pub cores: u32,
    /// Device slots.
    pub devices: u32,
    /// Attempts after a transient failure that saved nothing new.
    pub retries: u32,
    /// Milliseconds that one attempt may take; 0 is no limit.
    pub timeout_millis: i64,
    /// Higher starts first.
    pub priority: i64,
    /// Among equal priorities the greater starts first: the longest one last would run alone at the end (Graham 1969).
    pub work: u64,
    /// Whether its artifact is there already.
    pub done: bool,
}

/// Slots of the executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// Cores.
    pub cores: u32,
    /// Devices.
    pub devices: u32,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// Time went by.
    Tick,
    /// Attempts that were alive before this scheduler go on: step and token of each. They come all at once, before anything else:
    /// whoever hears of one alone may start the other again.
    Adopted(Vec<(usize, String)>),
    /// The executor took the attempt that [`Command::Start`] asked for.
    Submitted {
        /// The step.
        step: usize,
        /// The attempt.
        token: String,
    },
    /// The attempt is seen again or not.
    Seen {
        /// The step.
        step: usize,
        /// The attempt.
        token: String,
        /// Whether it can be seen.
        visible: bool,
    },
    /// The attempt ended.
    Ended {
        /// The step.
        step: usize,
        /// The attempt.
        token: String,
        /// How.
        end: End,
    },
    /// The step's artifact is in the store: it was moved there, or it was there when the step was to start.
    Committed {
        /// The step.
        step: usize,
    },
    /// The step's output could not be moved into the store.
    CommitFailed {
        /// The step.
        step: usize,
        /// Why.
        failure: Failure,
    },
    /// A person or a signal wants something.
    Asked(Request),
    /// There are more slots now, or fewer: who holds slots keeps them, nobody starts until they fit.
    SlotsChanged(Slots),
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// Its output is whole and waits to be committed.
    Finished,
    /// It failed.
    Failed {
        /// Why.
        failure: Failure,
        /// Whether it saved a newer checkpoint than the attempt before: then it does not count as a retry.
        advanced: bool,
    },
    /// It never began: the orchestrator that meant to start it died in between. It is no failure of the step.
    NeverStarted,
}

/// What a person or a signal wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Steps checkpoint and stop; nothing starts until [`Request::Resume`].
    Pause,
    /// Go on.
    Resume,
    /// Steps checkpoint and stop; the run is over.
    Cancel,
    /// One step checkpoints and stops for good.
    CancelStep(usize),
    /// A failed or cancelled step, or all of them, may run again.
    Retry(Option<usize>),
    /// Steps checkpoint and stop; another `apply` goes on.
    Interrupt,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Make a new attempt of the step and hand it to the executor.
    Start(usize),
    /// Stop the step's attempt.
    Stop {
        /// The step.
        step: usize,
        /// At once, without a checkpoint.
        force: bool,
    },
    /// Move the step's output into the store.
    Commit(usize),
    /// Record that the step changed.
    Move {
        /// The step.
        step: usize,
        /// Where to.
        to: StepMove,
    },
    /// Record that the run changed.
    MoveRun(RunState),
}
