//! The orchestrator of a drill: what `cupola apply` does, over the drill's plan. It is a process of its own, so that it can be killed.

use std::path::Path;

use super::{ChaosError, drill_plan};
use crate::executor::LocalExecutor;
use crate::plan::decide;
use crate::run::{Console, Signals, Slots, SystemClock, World, apply, take_requests};
use crate::state::{RunState, State, StateDir};
use crate::store::{Committer, Store};

/// Slots of a drill, whatever the machine has: enough that things happen side by side.
const SLOTS: Slots = Slots { cores: 4, devices: 0, memory_bytes: Slots::ANY_MEMORY };

/// Drives the drill in this state folder to its end, from wherever an earlier orchestrator left it.
pub fn drive(folder: &Path) -> Result<RunState, ChaosError> {
    let dir = StateDir::new(folder);
    let plan = drill_plan(Path::new("drill.yaml"))?;
    let mut state = State::open(&dir, "chaos")?;
    let store = Store::new(&dir);
    let decisions = decide(&plan, None, state.projection(), &|kind, of| store.contains(kind, of))?;
    let own = std::env::current_exe().map_err(ChaosError::io(Path::new("/proc/self/exe")))?;
    let executor = LocalExecutor::new(own.with_file_name("cupola-shim"), own.with_file_name("cupola-drill"))?;
    let artifacts = Committer::new(store, &executor.waker())?;
    let world = World { executor, clock: SystemClock::default(), artifacts };
    let (signals, control) = (Signals::default(), dir.control());
    let mut console =
        Console { signals: &signals, requests: &mut || take_requests(&control), show: &mut |_, _| {} };
    Ok(apply(&mut state, &plan, &decisions, world, (SLOTS, &mut console))?.run.state)
}
