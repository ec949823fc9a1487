//! The campaign: orchestrators killed at random moments, start-up included, until enough have died and every drill is done.

use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};

use super::ChaosError;
use super::ground::Ground;
use crate::state::read_state;

/// What a campaign came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Campaign {
    /// Orchestrators that were killed.
    pub kills: u32,
    /// Of those, how many while they were starting up.
    pub at_start: u32,
    /// Workers and shims that were killed on top.
    pub workers: u32,
    /// Drills that came to their end.
    pub drills: u32,
}

/// A kill within this time of its start hits an orchestrator that is opening its state.
const START_MILLIS: u64 = 25;

/// Kills `kills` orchestrators; the same seed draws the same moments.
pub fn kill_orchestrators(root: &Path, kills: u32, seed: u64) -> Result<Campaign, ChaosError> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut campaign = Campaign::default();
    while campaign.kills < kills || campaign.drills == 0 {
        let ground = Ground::new(root, &format!("kills {}", campaign.drills + 1))?;
        while campaign.kills < kills {
            let mut orchestrator = ground.start(&["env"])?;
            let at_start = rng.random_bool(0.4);
            let millis = if at_start {
                rng.random_range(0..START_MILLIS)
            } else {
                rng.random_range(START_MILLIS..600)
            };
            std::thread::sleep(Duration::from_millis(millis));
            if matches!(orchestrator.0.try_wait(), Ok(Some(_))) {
                break;
            }
            // By the kernel, at once, whatever it is doing.
            orchestrator.0.kill().map_err(ChaosError::io(root))?;
            campaign.kills += 1;
            campaign.at_start += u32::from(at_start);
            drop(orchestrator);
            if rng.random_bool(0.2) {
                campaign.workers += kill_a_worker(&ground, &mut rng);
            }
        }
        ground.finish()?;
        ground.judge()?;
        campaign.drills += 1;
    }
    Ok(campaign)
}

/// Kills the worker or the shim, or both, of some attempt that goes on without its orchestrator; says how many.
fn kill_a_worker(ground: &Ground, rng: &mut StdRng) -> u32 {
    let Ok(state) = read_state(&ground.dir) else { return 0 };
    let mut live = Vec::new();
    for planned in &ground.plan.steps {
        let open =
            state.attempts(&planned.fingerprint).iter().filter(|attempt| attempt.ended_millis.is_none());
        live.extend(open.map(|attempt| attempt.dir.join("started.json")));
    }
    if live.is_empty() {
        return 0;
    }
    let pick = &live[rng.random_range(0..live.len())];
    let started = std::fs::read(pick).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(started): Option<cupola_specs::contract::Started> = started else { return 0 };
    let victims = match rng.random_range(0..3) {
        0 => vec![started.worker_pid],
        1 => vec![started.shim_pid],
        _ => vec![started.shim_pid, started.worker_pid],
    };
    let killed = victims.iter().filter(|pid| signal(**pid, Signal::KILL));
    killed.count() as u32
}

/// Sends a signal to a drill's process; false where it is gone.
pub(super) fn signal(pid: u32, signal: Signal) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    // A pid that another program has by now is left alone.
    let ours = name.trim_end().starts_with("cupola");
    ours && Pid::from_raw(pid.cast_signed()).is_some_and(|pid| kill_process(pid, signal).is_ok())
}
