//! What the JSON routes take and answer, as the OpenAPI document tells it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cupola_specs::spec::{CatchUp, Overlap};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::daemon::Ticket;
use crate::schedule::{FiringRecord, Upcoming};
use crate::state::{Holder, RunState, RunView};

/// Every run, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunList {
    /// The runs, without their steps.
    pub(super) runs: Vec<RunBrief>,
    /// The process that works on the state folder now.
    pub(super) holder: Option<Holder>,
}

/// A run in a few fields.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunBrief {
    /// The run's id.
    id: String,
    /// The spec's name.
    spec_name: String,
    /// How it stands.
    state: RunState,
    /// When it was made, milliseconds since the Unix epoch.
    created_millis: i64,
    /// When it ended.
    ended_millis: Option<i64>,
    /// How many steps it has.
    steps: usize,
    /// How many of them have their artifact.
    done: usize,
}

impl RunBrief {
    /// Tells a run.
    pub(super) fn of(run: &RunView) -> Self {
        Self {
            id: run.id.clone(),
            spec_name: run.spec_name.clone(),
            state: run.state,
            created_millis: run.created_millis,
            ended_millis: run.ended_millis,
            steps: run.steps.len(),
            done: run.steps.iter().filter(|step| step.state.is_done()).count(),
        }
    }
}

/// Curves of a run: points (x, value) by metric by step.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
pub(super) struct Curves(pub(super) BTreeMap<String, BTreeMap<String, Vec<(u64, f64)>>>);

/// What of a run a verb is about.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ControlBody {
    /// A job or a step; the whole run where none is named.
    pub(super) job: Option<String>,
}

/// A command was started.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Started {
    /// Asks for its end: `/commands/{ticket}`.
    #[schema(value_type = u64)]
    pub(super) command: Ticket,
}

/// An apply waits for its turn.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ordered {
    /// Asks how it stands: `/orders/{order}`.
    pub(super) order: String,
}

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OrderStage {
    /// It waits for its turn.
    Waiting,
    /// Its run is there.
    Running,
    /// Its process ended.
    Ended,
}

/// How an order stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrderState {
    /// Which.
    pub(super) order: String,
    /// How far it is.
    pub(super) state: OrderStage,
    /// The run that it led to.
    pub(super) run: Option<String>,
    /// The exit code of its process.
    pub(super) exit_code: Option<i32>,
    /// The end of what its process said.
    pub(super) output: String,
    /// The end of what its process said of errors.
    pub(super) errors: String,
}

/// An order was taken back.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Withdrawn {
    /// Which.
    pub(super) order: String,
    /// `withdrawn`.
    pub(super) done: &'static str,
}

/// How a command that was started ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CommandEnd {
    /// Which.
    #[schema(value_type = u64)]
    pub(super) command: Ticket,
    /// Whether it ended.
    pub(super) ended: bool,
    /// Its exit code.
    pub(super) exit_code: Option<i32>,
}

/// Every schedule that the daemon watches.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ScheduleList {
    /// The schedules.
    pub(super) schedules: Vec<ScheduleState>,
}

/// A schedule: its next firings, what the clock does to it within a year, its firings so far.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScheduleState {
    /// `spec.name`.
    pub(super) id: String,
    /// The spec's file.
    #[schema(value_type = String)]
    pub(super) spec: PathBuf,
    /// Five fields.
    pub(super) cron: String,
    /// IANA zone.
    pub(super) timezone: String,
    /// Jobs that run again.
    pub(super) jobs: Vec<String>,
    /// What happens while the last firing still runs.
    pub(super) overlap: Overlap,
    /// What happens with firings that were missed.
    pub(super) catch_up: CatchUp,
    /// A firing starts by less than this many seconds later than its slot.
    pub(super) jitter_secs: u64,
    /// Whether it is paused.
    pub(super) paused: bool,
    /// The next five firings; none where it is paused.
    pub(super) upcoming: Vec<Upcoming>,
    /// Times that do not exist, or happen twice, within a year.
    pub(super) warnings: Vec<String>,
    /// Firings so far, oldest first.
    pub(super) firings: Vec<KeyedFiring>,
}

/// A firing with its idempotency key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyedFiring {
    /// `schedule@slot`.
    pub(super) key: String,
    /// The firing.
    pub(super) firing: FiringRecord,
}

/// What is done with a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ScheduleVerb {
    /// Fires it now.
    Fire,
    /// No slot fires until it is resumed.
    Pause,
    /// Slots fire again.
    Resume,
}

/// What was done with a schedule.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ScheduleDone {
    /// Which.
    pub(super) schedule: String,
    /// What.
    pub(super) done: ScheduleVerb,
}

/// Why a request failed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Refusal {
    /// The error.
    pub(super) error: RefusalText,
}

/// An error in words.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RefusalText {
    /// What is wrong.
    pub(super) message: String,
    /// What to do about it; may be empty.
    pub(super) hint: String,
}

/// How any request may be refused.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "the document's own: handlers answer with `ApiError`")]
pub(super) enum Always {
    /// No token, or another one.
    #[response(status = 401)]
    Token(Refusal),
    /// Another host than loopback.
    #[response(status = 421)]
    Host(Refusal),
    /// State could not be read or written.
    #[response(status = 500)]
    State(Refusal),
}
