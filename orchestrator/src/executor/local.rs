//! The local executor: attempts as processes of this machine, each under its shim.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use cupola_specs::contract::{ShimResult, Started};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;

use super::shim::{CLAIM_FILE, HEARTBEAT_FILE, JOB_FILE, RESULT_FILE, STARTED_FILE, create_exclusively};
use super::{AttemptRef, Executor, ExecutorError, Observation, ProcessId, find_by_argument, is_alive};

/// A worker that lives and whose shim has not been heard of for this long can't be judged.
const SILENCE: Duration = Duration::from_secs(20);

/// Runs attempts as processes of this machine.
#[derive(Debug)]
pub struct LocalExecutor {
    shim: PathBuf,
    worker: PathBuf,
    children: BTreeMap<String, Child>,
    beats: BTreeMap<PathBuf, Beat>,
}

/// The newest heartbeat of an attempt, and when it was first seen by a clock that nobody can set.
#[derive(Debug)]
struct Beat {
    modified: SystemTime,
    seen: Instant,
}

impl LocalExecutor {
    /// An executor that starts `shim shim ATTEMPT --worker WORKER`, where `shim` is this program.
    pub fn new(shim: PathBuf, worker: PathBuf) -> Self {
        Self { shim, worker, children: BTreeMap::new(), beats: BTreeMap::new() }
    }

    /// The executor of this program: the worker is `CUPOLA_WORKER`, or `cupola-worker` beside this program.
    pub fn of_this_program() -> Result<Self, ExecutorError> {
        let shim = std::env::current_exe().map_err(ExecutorError::io(Path::new("/proc/self/exe")))?;
        let beside = shim.parent().map(|folder| folder.join("cupola-worker")).unwrap_or_default();
        let worker = std::env::var_os("CUPOLA_WORKER").map_or(beside, PathBuf::from);
        if !worker.is_file() {
            return Err(ExecutorError::NoWorker { path: worker });
        }
        Ok(Self::new(shim, worker))
    }

    /// Collects the exit status of our own shims, so that none stays a zombie; says whether this one is still there.
    fn own_shim_lives(&mut self, token: &str) -> Option<bool> {
        let child = self.children.get_mut(token)?;
        if matches!(child.try_wait(), Ok(None)) {
            return Some(true);
        }
        self.children.remove(token);
        Some(false)
    }

    /// How long no new heartbeat was seen: counted from what we saw, so that a clock that is set or a machine that slept says nothing.
    fn silence(&mut self, attempt: &Path) -> Option<Duration> {
        let modified = std::fs::metadata(attempt.join(HEARTBEAT_FILE)).ok()?.modified().ok()?;
        let now = Instant::now();
        let beat = self.beats.entry(attempt.to_path_buf()).or_insert(Beat { modified, seen: now });
        if beat.modified != modified {
            *beat = Beat { modified, seen: now };
        }
        Some(now.duration_since(beat.seen))
    }

    /// An attempt without a claim: either its shim is about to make one, or none ever will.
    fn observe_unclaimed(&mut self, attempt: &AttemptRef) -> Result<Observation, ExecutorError> {
        if self.own_shim_lives(&attempt.token) == Some(true) {
            return Ok(Observation::Starting);
        }
        let Some(me) = ProcessId::current() else { return Ok(Observation::Starting) };
        // We take the claim ourselves: a shim that comes late finds it taken and starts no worker.
        match create_exclusively(&attempt.dir.join(CLAIM_FILE), &me) {
            Ok(()) => {
                Ok(Observation::Dead { reason: "its shim ended before it started a worker".to_owned() })
            }
            Err(ExecutorError::Taken { .. }) => Ok(Observation::Starting),
            Err(error) => Err(error),
        }
    }

    /// An attempt with a claim and without a `started.json`.
    fn observe_claimed(&mut self, attempt: &AttemptRef, claim: &ProcessId) -> Observation {
        self.own_shim_lives(&attempt.token);
        let ours = claim.pid == std::process::id() && ProcessId::current().as_ref() == Some(claim);
        if is_alive(claim) && !ours {
            return Observation::Starting;
        }
        match find_by_argument(&attempt.dir.join(JOB_FILE), std::process::id()) {
            Some(worker) => Observation::Running(Started {
                shim_pid: claim.pid,
                worker_pid: worker.pid,
                start_ticks: worker.start_ticks,
                boot_id: worker.boot_id,
                token: attempt.token.clone(),
            }),
            None => Observation::Dead { reason: "its shim died before it started a worker".to_owned() },
        }
    }

    fn observe_started(
        &mut self,
        attempt: &AttemptRef,
        started: Started,
    ) -> Result<Observation, ExecutorError> {
        self.own_shim_lives(&attempt.token);
        let worker = worker_of(&started);
        if is_alive(&worker) {
            let quiet = self.silence(&attempt.dir);
            let shim: Option<ProcessId> = read_json(&attempt.dir.join(CLAIM_FILE))?;
            if quiet.is_some_and(|quiet| quiet > SILENCE) && shim.is_some_and(|shim| is_alive(&shim)) {
                let reason = format!("no heartbeat for {} s", quiet.unwrap_or_default().as_secs());
                return Ok(Observation::Unknown { reason });
            }
            return Ok(Observation::Running(started));
        }
        let shim: Option<ProcessId> = read_json(&attempt.dir.join(CLAIM_FILE))?;
        if shim.is_some_and(|shim| is_alive(&shim)) {
            return Ok(Observation::Running(started));
        }
        // The shim may have written its last word between our two looks.
        if let Some(result) = read_json::<ShimResult>(&attempt.dir.join(RESULT_FILE))? {
            return Ok(Observation::Exited(result));
        }
        let reason = format!("worker {} and its shim are gone and left no result", started.worker_pid);
        Ok(Observation::Dead { reason })
    }
}

impl Executor for LocalExecutor {
    fn submit(&mut self, attempt: &AttemptRef) -> Result<(), ExecutorError> {
        if attempt.dir.join(CLAIM_FILE).exists() {
            return Ok(());
        }
        let child = Command::new(&self.shim)
            .arg("shim")
            .arg(&attempt.dir)
            .arg("--worker")
            .arg(&self.worker)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| ExecutorError::Spawn { program: self.shim.clone(), source })?;
        self.children.insert(attempt.token.clone(), child);
        Ok(())
    }

    fn observe(&mut self, attempt: &AttemptRef) -> Result<Observation, ExecutorError> {
        if let Some(result) = read_json::<ShimResult>(&attempt.dir.join(RESULT_FILE))? {
            self.own_shim_lives(&attempt.token);
            return Ok(Observation::Exited(result));
        }
        if let Some(started) = read_json::<Started>(&attempt.dir.join(STARTED_FILE))? {
            return self.observe_started(attempt, started);
        }
        match read_json::<ProcessId>(&attempt.dir.join(CLAIM_FILE))? {
            Some(claim) => {
                let seen = self.observe_claimed(attempt, &claim);
                // Between our looks the shim may have gone on and ended.
                if matches!(seen, Observation::Dead { .. }) && attempt.dir.join(STARTED_FILE).exists() {
                    return Ok(Observation::Starting);
                }
                Ok(seen)
            }
            None => self.observe_unclaimed(attempt),
        }
    }

    fn cancel(&mut self, attempt: &AttemptRef, force: bool) -> Result<(), ExecutorError> {
        let started = match self.observe(attempt)? {
            Observation::Running(started) => Some(started),
            Observation::Unknown { .. } => read_json::<Started>(&attempt.dir.join(STARTED_FILE))?,
            _ => None,
        };
        let Some(started) = started else { return Ok(()) };
        let worker = worker_of(&started);
        let Some(pid) = Pid::from_raw(worker.pid.cast_signed()) else { return Ok(()) };
        if !is_alive(&worker) {
            return Ok(());
        }
        let signal = if force { Signal::KILL } else { Signal::TERM };
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(ExecutorError::Signal { pid: worker.pid, problem: error.to_string() }),
        }
    }
}

fn worker_of(started: &Started) -> ProcessId {
    ProcessId { pid: started.worker_pid, start_ticks: started.start_ticks, boot_id: started.boot_id.clone() }
}

/// Reads a file of the contract; none where it is not there.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ExecutorError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| ExecutorError::Encode { path: path.to_path_buf(), problem: error.to_string() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ExecutorError::Io { path: path.to_path_buf(), source }),
    }
}
