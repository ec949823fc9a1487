//! The room on the disk that a paused run waits for, as everybody sees it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Fact, Projection, RunRow, RunState, StateError};
use crate::report::format;

const TOPIC: &str = "room";

/// What a paused run waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WantedRoom {
    /// The step that ran out of disk.
    pub step: String,
    /// The disk, by the state folder on it.
    #[schema(value_type = String)]
    pub disk: PathBuf,
    /// Bytes that must be free before the run goes on.
    pub needed_bytes: u64,
    /// Bytes that were free when it stopped.
    pub free_bytes: u64,
}

impl WantedRoom {
    /// What this run waits for; none where it does not.
    pub fn of(projection: &Projection, run: &RunRow) -> Option<Self> {
        let noted = projection.note(TOPIC, &run.id).filter(|_| run.state == RunState::Paused);
        noted.and_then(|value| Self::deserialize(value).ok())
    }

    /// What is missing and what to do, in a line.
    pub fn line(&self) -> String {
        format!(
            "the disk of {} was full when `{}` wrote: the run goes on by itself as soon as {} are free (then {}); `cupola gc` lists what nothing needs",
            self.disk.display(),
            self.step,
            format::bytes(self.needed_bytes),
            format::bytes(self.free_bytes),
        )
    }

    /// The fact that a run waits for it.
    pub fn fact(&self, run: &str) -> Result<Fact, StateError> {
        Ok(Fact::Noted { topic: TOPIC.to_owned(), key: run.to_owned(), value: serde_json::to_value(self)? })
    }

    /// The fact that a run waits no more.
    pub fn end(run: &str) -> Fact {
        Fact::Noted { topic: TOPIC.to_owned(), key: run.to_owned(), value: serde_json::Value::Null }
    }
}
