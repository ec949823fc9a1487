//! State: the journal is the truth, the database its projection, the read model what people see.
//!
//! * A process that changes things holds a [`State`]: it has the folder's lock, and every fact goes to the journal (fsynced), then into
//!   the [`Projection`], and over to the one task that writes the database.
//! * A process that only reads calls [`read_state`], which takes the newest snapshot and replays the journal after it without a lock, and
//!   [`load_run`], which adds what the plan and the workers' event files say: so `status`, `logs` and `watch` work while an `apply` runs.
//! * An acknowledged fact is never lost: a torn tail of the journal is what nobody was told about, and a cut or damaged one comes back from
//!   the database. A full disk finds the ballast given up.

mod act;
mod curve;
mod error;
mod fact;
mod paths;
mod room;
mod rows;
mod view;

mod json_text;

mod frame;
mod medium;

mod journal;
mod migrate;

mod projection;
mod snapshot;

mod database;
mod projector;

mod ballast;
mod filesystem;
mod lock;

mod check;
mod events;
mod mend;
mod open;
mod recover;

pub use act::{Act, Actor};
pub use ballast::{free_bytes, is_disk_full};
pub use check::{Finding, check_state, export_state};
pub use curve::MetricSeries;
pub use error::StateError;
pub use events::{EventFold, EventTail, events_file, fill_step, load_run};
pub use fact::{AttemptOutcome, CommittedArtifact, Expected, Fact, FolderId, PlannedStep, Record, StepMove};
pub use journal::{Journal, JournalContents, Position, read_journal, read_journal_after, visit_journal};
pub use lock::{Holder, StateLock, boot_id, holder, host_name};
pub use medium::MemoryFile;
pub use mend::cut_damage;
pub use open::{State, now_millis, read_memory_at, read_runs, read_state, read_state_at};
pub use paths::StateDir;
pub use projection::Projection;
pub use room::WantedRoom;
pub use rows::{RunRow, StepRow};
pub use view::{ArtifactView, AttemptView, ProgressView, RunState, RunView, SampleView, StepState, StepView};
