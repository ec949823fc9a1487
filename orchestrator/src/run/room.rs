//! A run that waits for room on the disk, and the end of the wait.

use super::{Clock, Driver, Happening, Request, RunError};
use crate::executor::Executor;
use crate::state::WantedRoom;
use crate::store::ArtifactStore;

/// Beside what a step writes there is always something: logs, records, a manifest.
const SPARE_BYTES: u64 = 1 << 20;
/// How often the disk is looked at.
const LOOK_MILLIS: i64 = 500;

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
        self.facts.push(WantedRoom::end(&self.run));
    }
}
