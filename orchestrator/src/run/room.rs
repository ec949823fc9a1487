//! A run that waits for room on the disk: what it waits for, as everybody sees it, and the end of the wait.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Clock, Driver, Happening, Request, RunError};
use crate::executor::Executor;
use crate::report::format;
use crate::state::{Fact, Projection, RunRow, RunState, StateError};
use crate::store::ArtifactStore;

const TOPIC: &str = "room";
/// Beside what a step writes there is always something: logs, records, a manifest.
const SPARE_BYTES: u64 = 1 << 20;
/// How often the disk is looked at.
const LOOK_MILLIS: i64 = 500;

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
            "the disk of {} is full: `{}` needs {} free and found {}; make room (`cupola gc` lists what nothing needs), and the run goes on by itself",
            self.disk.display(),
            self.step,
            format::bytes(self.needed_bytes),
            format::bytes(self.free_bytes),
        )
    }

    fn fact(&self, run: &str) -> Result<Fact, StateError> {
        Ok(Fact::Noted { topic: TOPIC.to_owned(), key: run.to_owned(), value: serde_json::to_value(self)? })
    }
}

/// What a driver remembers while its run waits.
#[derive(Debug)]
pub(super) struct Wait {
    needed_bytes: u64,
    looked_millis: i64,
}

impl<E: Executor, C: Clock, A: ArtifactStore> Driver<'_, E, C, A> {
    /// Whether the disk takes nothing more.
    pub(super) fn is_disk_full(&self) -> bool {
        self.world.artifacts.free_bytes().is_some_and(|free| free < SPARE_BYTES)
    }

    /// Notes what a step ran out of, and waits for it.
    pub(super) fn await_room(&mut self, step: usize) -> Result<(), RunError> {
        let written = self.written.remove(&step).unwrap_or(0);
        let expected = self.plan.steps[step].step.settings.disk_bytes;
        // What it had written is free again, and was not enough.
        let needed_bytes = expected.max(written.saturating_add(written / 10)).saturating_add(SPARE_BYTES);
        let looked_millis = self.world.clock.steady_millis();
        let before = self.wait.as_ref().map_or(0, |wait| wait.needed_bytes);
        if needed_bytes > before {
            let wanted = WantedRoom {
                step: self.name(step),
                disk: self.state.dir().root().to_path_buf(),
                needed_bytes,
                free_bytes: self.world.artifacts.free_bytes().unwrap_or(0),
            };
            tracing::warn!(run = self.run, "{}", wanted.line());
            self.facts.push(wanted.fact(&self.run)?);
        }
        self.wait = Some(Wait { needed_bytes: needed_bytes.max(before), looked_millis });
        Ok(())
    }

    /// Ends the wait where there is room, or where somebody else ended it.
    pub(super) fn look_for_room(&mut self) {
        let now = self.world.clock.steady_millis();
        let Some(wait) = &mut self.wait else { return };
        if self.scheduler.awaits_room() {
            if now.saturating_sub(wait.looked_millis) < LOOK_MILLIS {
                return;
            }
            wait.looked_millis = now;
            if self.world.artifacts.free_bytes().is_some_and(|free| free < wait.needed_bytes) {
                return;
            }
            self.queue.push_back(Happening::Asked(Request::Resume));
        }
        self.wait = None;
        let (topic, key) = (TOPIC.to_owned(), self.run.clone());
        self.facts.push(Fact::Noted { topic, key, value: serde_json::Value::Null });
    }
}
