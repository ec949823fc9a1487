//! State: the journal is the truth, the database its projection, the read model what people see.
//!
//! * A process that changes things holds a [`State`]: it has the folder's lock, and every fact goes to the journal (fsynced), then to the
//!   database (flushed), then into the [`Projection`].
//! * A process that only reads calls [`read_state`], which replays the journal without a lock, and [`load_run`], which adds what the
//!   workers' event files say: so `status`, `logs` and `watch` work while an `apply` runs.
//! * An acknowledged fact is never lost: a torn tail of the journal is what nobody was told about.

mod error;
mod fact;
mod paths;
mod view;

mod journal;
mod projection;

mod database;
mod events;
mod lock;
mod open;

pub use database::Database;
pub use error::StateError;
pub use events::{EventFold, EventTail, events_file, fill_step, load_run};
pub use fact::{AttemptOutcome, CommittedArtifact, Fact, PlannedStep, Record, StepMove};
pub use journal::{Journal, JournalContents, read_journal};
pub use lock::{Holder, StateLock, boot_id, holder, host_name};
pub use open::{State, check_database, now_millis, read_state};
pub use paths::StateDir;
pub use projection::Projection;
pub use view::{
    ArtifactView, AttemptView, MetricSeries, ProgressView, RunState, RunView, SampleView, StepState, StepView,
};
