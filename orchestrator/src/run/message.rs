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
    /// What it takes while it runs; its memory is 0 where nobody knows it.
    pub slots: Slots,
    /// How often it can be tried with less memory: a training step, by smaller micro-batches.
    pub halvings: u32,
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
    /// Bytes of memory; [`Slots::ANY_MEMORY`] where nobody knows how much there is.
    pub memory_bytes: u64,
}

impl Slots {
    /// As much memory as anybody asks for.
    pub const ANY_MEMORY: u64 = u64::MAX;
    /// None.
    pub const NONE: Self = Self { cores: 0, devices: 0, memory_bytes: 0 };

    /// What a step that asks for `wanted` gets of these: at least a core, and all where it wants more than there is.
    #[must_use]
    pub fn cut(self, wanted: Self) -> Self {
        Self {
            cores: wanted.cores.clamp(1, self.cores.max(1)),
            devices: wanted.devices.min(self.devices),
            memory_bytes: wanted.memory_bytes.min(self.memory_bytes),
        }
    }

    /// Whether these hold `used` and `more` side by side.
    pub fn hold(self, used: Self, more: Self) -> bool {
        used.cores + more.cores <= self.cores.max(1)
            && used.devices + more.devices <= self.devices
            && used.memory_bytes.saturating_add(more.memory_bytes) <= self.memory_bytes
    }
}

impl std::ops::AddAssign for Slots {
    fn add_assign(&mut self, more: Self) {
        self.cores += more.cores;
        self.devices += more.devices;
        self.memory_bytes += more.memory_bytes;
    }
}

impl std::ops::SubAssign for Slots {
    fn sub_assign(&mut self, less: Self) {
        self.cores -= less.cores;
        self.devices -= less.devices;
        self.memory_bytes -= less.memory_bytes;
    }
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
    /// Wait for room on the disk, which the step ran out of, and resume.
    AwaitRoom(usize),
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
