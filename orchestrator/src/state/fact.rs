//! What the journal records: one fact a record, in the order in which they became true.
//!
//! Order around a side effect: the intent is flushed, then the effect happens, then its outcome is flushed, then successors are
//! released. An intent without an outcome is looked up by its key before anything is done again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cupola_specs::contract::{CheckpointRecord, ErrorClass, Failure};
use cupola_specs::job::StepKind;
use serde::{Deserialize, Serialize};

use super::{Act, RunState};

/// A fact with its place in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// 1, 2, … without a gap.
    pub seq: u64,
    /// When it was written, milliseconds since the Unix epoch.
    pub at_millis: i64,
    /// What became true.
    pub fact: Fact,
    /// Where the record starts in the journal, bytes.
    #[serde(skip)]
    pub offset: u64,
}

/// What became true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// An orchestrator took the lock; each opening is one epoch.
    Opened {
        /// 1, 2, …
        epoch: u64,
        /// Its process id.
        pid: u32,
        /// Its host.
        host: String,
        /// Its version.
        version: String,
        /// Which folder it opened: a copy of a folder is another one.
        folder: FolderId,
    },
    /// A run was made; its steps follow as [`Fact::StepsPlanned`].
    RunCreated {
        /// The run's id.
        run: String,
        /// The spec's name.
        spec_name: String,
        /// The spec's file.
        spec_path: PathBuf,
        /// blake3 over the names and fingerprints of the steps.
        plan_hash: String,
    },
    /// Steps are part of a run; a large plan comes in several records.
    StepsPlanned {
        /// The run.
        run: String,
        /// The steps, after those of the record before.
        steps: Vec<PlannedStep>,
    },
    /// An attempt is about to be handed to the executor: an intent.
    AttemptIntended {
        /// The run.
        run: String,
        /// The step.
        step: String,
        /// Number within the step's fingerprint: 1, 2, …
        number: u32,
        /// `epoch.attempt`.
        token: String,
        /// The attempt's folder, below the state folder.
        dir: PathBuf,
    },
    /// The attempt's worker was seen.
    AttemptStarted {
        /// The run.
        run: String,
        /// The step.
        step: String,
        /// The attempt.
        token: String,
        /// The worker.
        worker_pid: u32,
    },
    /// An attempt that another run or another orchestrator started goes on in this run.
    AttemptAdopted {
        /// The run.
        run: String,
        /// The step.
        step: String,
        /// The attempt.
        token: String,
        /// Its number.
        number: u32,
        /// Its folder, below the state folder.
        dir: PathBuf,
    },
    /// The attempt can't be seen.
    AttemptUnknown {
        /// The run.
        run: String,
        /// The step.
        step: String,
        /// The attempt.
        token: String,
        /// Why.
        reason: String,
    },
    /// The attempt ended.
    AttemptEnded {
        /// The run.
        run: String,
        /// The step.
        step: String,
        /// The attempt.
        token: String,
        /// How it ended.
        outcome: AttemptOutcome,
        /// Peak resident memory, bytes.
        peak_rss_bytes: u64,
        /// User and system time, milliseconds.
        cpu_millis: u64,
    },
    /// A worker saved a state.
    CheckpointSaved {
        /// The step's fingerprint.
        fingerprint: String,
        /// The state.
        record: CheckpointRecord,
    },
    /// A finished attempt's output is about to be moved into the store: an intent.
    CommitIntended {
        /// The run.
        run: String,
        /// The step.
        step: String,
        /// The attempt.
        token: String,
        /// The step's fingerprint.
        fingerprint: String,
    },
    /// The artifact is in the store.
    ArtifactCommitted(Box<CommittedArtifact>),
    /// An artifact was deleted.
    ArtifactDeleted {
        /// Its fingerprint.
        fingerprint: String,
    },
    /// A step changed without an attempt: it was found in the store, waits for a retry, failed for good, was blocked or cancelled.
    StepMoved {
        /// The run.
        run: String,
        /// The step.
        step: String,
        /// Where to.
        to: StepMove,
    },
    /// A run changed.
    RunMoved {
        /// The run.
        run: String,
        /// How it stands now.
        state: RunState,
    },
    /// Somebody did something that changes state. Only the journal keeps it.
    Acted(Box<Act>),
    /// A named fact of another room (`schedule`, `schedule_firing`, `promotion`): the newest value of a key counts.
    Noted {
        /// Which kind of fact.
        topic: String,
        /// Its key within the topic.
        key: String,
        /// The value; null deletes the key.
        value: serde_json::Value,
    },
}

/// A folder that can't be mistaken for a copy of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FolderId {
    /// Where it was.
    #[serde(default)]
    pub path: PathBuf,
    /// The device of its file system.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

impl FolderId {
    /// Whether `now` is a copy of this folder. One that was moved keeps its inode; one that was mounted anew, or put back from a copy,
    /// keeps its path, and with it the files that its attempts write.
    pub fn is_copied_to(&self, now: &Self) -> bool {
        *self != Self::default()
            && self.path != now.path
            && (self.device, self.inode) != (now.device, now.inode)
    }
}

/// A step as it was planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// The step's name.
    pub name: String,
    /// The job that it is lowered from.
    pub job: String,
    /// Its kind.
    pub kind: StepKind,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Code version of its kind.
    pub code_version: u32,
    /// Resolved parameters.
    pub params: serde_json::Value,
    /// Fingerprints of its inputs by role.
    pub inputs: BTreeMap<String, String>,
    /// Steps that it waits for.
    pub needs: Vec<String>,
    /// Hash over its local files by label.
    pub sources: BTreeMap<String, String>,
    /// Its seed.
    pub seed: u64,
    /// Core slots.
    pub cores: u32,
    /// Whether its artifact is in the store.
    pub cached: bool,
    /// Why it runs, or why it does not have to.
    pub reason: String,
    /// FLOPs of its training; 0 where it trains nothing or its size was not known.
    #[serde(default)]
    pub training_flops: f64,
    /// What it trains, as the plan's estimators see it; null where it trains nothing or its size was not known.
    #[serde(default)]
    pub trainings: serde_json::Value,
    /// What the plan expected it to take.
    #[serde(default)]
    pub expected: Expected,
}

/// What a plan expects a step to take, told before it runs and kept to be compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Expected {
    /// Seconds from its start to its end; none where nobody knew.
    pub secs: Option<f64>,
    /// Peak resident memory of each of its processes, bytes; none where nobody knew.
    pub peak_bytes: Option<u64>,
}

/// An artifact as it was committed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommittedArtifact {
    /// The run.
    pub run: String,
    /// The step.
    pub step: String,
    /// The attempt that made it; empty for an imported one.
    pub token: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Its kind.
    pub kind: String,
    /// Its folder, below the state folder.
    pub path: PathBuf,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// The step's own facts.
    pub summary: serde_json::Map<String, serde_json::Value>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// The worker finished and staging is whole.
    Succeeded,
    /// The worker failed.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// The worker is proven dead and left no result.
    Lost {
        /// How that is known.
        reason: String,
    },
    /// It was told to stop and did.
    Cancelled,
}

impl AttemptOutcome {
    /// The outcome's name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Lost { .. } => "lost",
            Self::Cancelled => "cancelled",
        }
    }

    /// The failure behind it, if it is one.
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Self::Failed { failure } => Some(failure.clone()),
            Self::Lost { reason } => Some(Failure {
                class: ErrorClass::Transient,
                code: "worker_lost".to_owned(),
                message: reason.clone(),
                hint: String::new(),
            }),
            Self::Succeeded | Self::Cancelled => None,
        }
    }
}

/// A change of a step without an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum StepMove {
    /// It may run again (retry, resume).
    Waiting,
    /// Its artifact is in the store already.
    Cached,
    /// It waits for its next attempt.
    Backoff {
        /// Not before this, milliseconds since the Unix epoch.
        until_millis: i64,
    },
    /// No other attempt will be made.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// A step that it needs failed or was cancelled.
    Blocked {
        /// That step.
        by: String,
    },
    /// A user cancelled it.
    Cancelled,
}
