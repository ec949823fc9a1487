//! The local executor: attempts as processes of this machine, each under its shim.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use cupola_specs::contract::{Event, ShimResult, Started};
use cupola_specs::job::{Device, StepKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::folder::{devices_of, prepare, read_json};
use super::forkserver::ForkServer;
use super::shim::{
    CLAIM_FILE, HEARTBEAT_FILE, JOB_FILE, RESULT_FILE, STARTED_FILE, ShimOrder, create_exclusively,
};
use super::{
    AttemptRef, Executor, ExecutorError, Observation, ProcessId, Waker, WorkOrder, find_by_argument, is_alive,
};
use crate::state::{EventTail, events_file};

/// A worker that lives and whose shim has not been heard of for this long can't be judged, unless `CUPOLA_SILENCE_SECS` says otherwise.
const SILENCE: Duration = Duration::from_secs(20);
/// Rounds that a thread of the worker spins for before it sleeps.
const SPINS: &str = "20000";
/// What glibc's allocator is told, as its process starts, where a step trains.
const TRAINING_ALLOCATOR: &str = "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0";

/// Runs attempts as processes of this machine.
#[derive(Debug)]
pub struct LocalExecutor {
    shims: ForkServer,
    worker: PathBuf,
    silence: Duration,
    waker: Waker,
    /// By the attempt's folder: a token is only one of its step.
    attempts: BTreeMap<PathBuf, Followed>,
}

/// Whether a step of this kind is a training.
fn trains(kind: StepKind) -> bool {
    use StepKind::{Optimize, Pretrain, RewardModel, Sft, Sweep};
    matches!(kind, Sweep | Pretrain | Sft | RewardModel | Optimize)
}

/// What is remembered of an attempt between two looks.
#[derive(Debug, Default)]
struct Followed {
    /// Readable when the shim, or the worker that outlived it, ended.
    ended: Option<OwnedFd>,
    /// The newest heartbeat, and when it was first seen by a clock that nobody can set.
    beat: Option<(SystemTime, Instant)>,
}

impl LocalExecutor {
    /// An executor whose shims are forked by `shim` and run `worker JOB_FILE`.
    pub fn new(shim: PathBuf, worker: PathBuf) -> Result<Self, ExecutorError> {
        let waker = Waker::new().map_err(ExecutorError::io(Path::new("eventfd")))?;
        let secs = std::env::var("CUPOLA_SILENCE_SECS").ok().and_then(|secs| secs.parse().ok());
        let silence = secs.map_or(SILENCE, Duration::from_secs);
        Ok(Self { shims: ForkServer::new(shim), worker, silence, waker, attempts: BTreeMap::new() })
    }

    /// The worker of this program: `CUPOLA_WORKER`, or `cupola-worker` beside it.
    pub fn worker_of_this_program() -> Result<PathBuf, ExecutorError> {
        let own = std::env::current_exe().map_err(ExecutorError::io(Path::new("/proc/self/exe")))?;
        let worker =
            std::env::var_os("CUPOLA_WORKER").map_or(own.with_file_name("cupola-worker"), PathBuf::from);
        if !worker.is_file() {
            return Err(ExecutorError::NoWorker { path: worker });
        }
        Ok(worker)
    }

    /// The executor of this program: `cupola-shim` lies beside it.
    pub fn of_this_program() -> Result<Self, ExecutorError> {
        let own = std::env::current_exe().map_err(ExecutorError::io(Path::new("/proc/self/exe")))?;
        let shim = own.with_file_name("cupola-shim");
        let worker = Self::worker_of_this_program()?;
        if !shim.is_file() {
            return Err(ExecutorError::NoShim { path: shim });
        }
        Self::new(shim, worker)
    }

    /// An executor that looks at attempts and ends them, and can start none.
    pub fn of_nothing_new() -> Result<Self, ExecutorError> {
        Self::new(PathBuf::from("cupola-shim"), PathBuf::from("cupola-worker"))
    }

    /// Wakes this executor's wait.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Whether the process that we watch for this attempt, if any, is still there.
    fn watched_lives(&self, attempt: &AttemptRef) -> bool {
        let ended = self.attempts.get(&attempt.dir).and_then(|followed| followed.ended.as_ref());
        ended.is_some_and(|ended| {
            matches!(poll(&mut [PollFd::new(ended, PollFlags::IN)], Some(&Timespec::default())), Ok(0))
        })
    }

    /// Makes [`Executor::wait`] end when this process does.
    fn watch(&mut self, attempt: &AttemptRef, process: &ProcessId) {
        let followed = self.attempts.entry(attempt.dir.clone()).or_default();
        if followed.ended.is_none()
            && let Some(pid) = Pid::from_raw(process.pid.cast_signed())
            && let Ok(ended) = pidfd_open(pid, PidfdFlags::empty())
            && is_alive(process)
        {
            followed.ended = Some(ended);
        }
    }

    /// How long no new heartbeat was seen: counted from what we saw, so that a clock that is set or a machine that slept says nothing.
    fn silence(&mut self, attempt: &AttemptRef) -> Option<Duration> {
        let modified = |name: &str| std::fs::metadata(attempt.dir.join(name)).ok()?.modified().ok();
        let modified = modified(HEARTBEAT_FILE).or_else(|| modified(STARTED_FILE))?;
        let now = Instant::now();
        let followed = self.attempts.entry(attempt.dir.clone()).or_default();
        let beat = followed.beat.get_or_insert((modified, now));
        if beat.0 != modified {
            *beat = (modified, now);
        }
        Some(now.duration_since(beat.1))
    }

    /// An attempt without a claim: either its shim is about to make one, or none ever will.
    fn observe_unclaimed(&mut self, attempt: &AttemptRef) -> Result<Observation, ExecutorError> {
        if self.watched_lives(attempt) {
            return Ok(Observation::Starting);
        }
        let Some(me) = ProcessId::current() else { return Ok(Observation::Starting) };
        std::fs::create_dir_all(&attempt.dir).map_err(ExecutorError::io(&attempt.dir))?;
        // We take the claim ourselves: a shim that comes late finds it taken and starts no worker.
        match create_exclusively(&attempt.dir.join(CLAIM_FILE), &me) {
            Ok(()) => Ok(Observation::Dead {
                reason: "its shim ended before it started a worker".to_owned(),
                ran: false,
            }),
            Err(ExecutorError::Taken { .. }) => Ok(Observation::Starting),
            Err(error) => Err(error),
        }
    }

    /// An attempt with a claim and without a `started.json`.
    fn observe_claimed(&mut self, attempt: &AttemptRef, claim: &ProcessId) -> Observation {
        let ours = claim.pid == std::process::id() && ProcessId::current().as_ref() == Some(claim);
        if is_alive(claim) && !ours {
            return Observation::Starting;
        }
        match find_by_argument(&attempt.dir.join(JOB_FILE), std::process::id()) {
            Some(worker) => {
                self.watch(attempt, &worker);
                Observation::Running(Started {
                    shim_pid: claim.pid,
                    worker_pid: worker.pid,
                    start_ticks: worker.start_ticks,
                    boot_id: worker.boot_id,
                    token: attempt.token.clone(),
                })
            }
            // A worker that came and went in between has said something.
            None => Observation::Dead {
                reason: "its shim died before it noted a worker".to_owned(),
                ran: events_file(&attempt.dir).exists(),
            },
        }
    }

    fn observe_started(
        &mut self,
        attempt: &AttemptRef,
        started: Started,
    ) -> Result<Observation, ExecutorError> {
        let worker = worker_of(&started);
        let shim: Option<ProcessId> = read_torn(&attempt.dir.join(CLAIM_FILE))?;
        let live_shim = shim.filter(is_alive);
        if let Some(shim) = &live_shim {
            self.watch(attempt, shim);
        }
        if is_alive(&worker) {
            if live_shim.is_none() {
                self.watch(attempt, &worker);
            } else if let Some(quiet) = self.silence(attempt).filter(|quiet| *quiet > self.silence) {
                let reason = format!("no heartbeat for {} s", quiet.as_secs());
                return Ok(Observation::Unknown { reason });
            }
            return Ok(Observation::Running(started));
        }
        if live_shim.is_some() {
            return Ok(Observation::Running(started));
        }
        // The shim may have written its last word between our two looks.
        if let Some(result) = read_json::<ShimResult>(&attempt.dir.join(RESULT_FILE))? {
            return Ok(Observation::Exited(result));
        }
        let reason = format!("worker {} and its shim are gone and left no result", started.worker_pid);
        Ok(Observation::Dead { reason, ran: true })
    }
}

impl Executor for LocalExecutor {
    fn submit(&mut self, attempt: &AttemptRef, order: &WorkOrder<'_>) -> Result<(), ExecutorError> {
        if attempt.dir.join(CLAIM_FILE).exists() {
            return Ok(());
        }
        prepare(attempt, order)?;
        let shim = ShimOrder {
            attempt: attempt.dir.clone(),
            worker: self.worker.clone(),
            token: attempt.token.clone(),
            memory_limit_bytes: order.memory_limit_bytes,
            env: environment_of(order),
        };
        let pid = self
            .shims
            .fork(&shim)
            .map_err(|source| ExecutorError::Spawn { program: self.shims.program().to_path_buf(), source })?;
        // One that ended meanwhile is seen by what it left.
        let ended =
            Pid::from_raw(pid.cast_signed()).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        self.attempts.insert(attempt.dir.clone(), Followed { ended, beat: None });
        Ok(())
    }

    fn observe(&mut self, attempt: &AttemptRef) -> Result<Observation, ExecutorError> {
        if let Some(result) = read_json::<ShimResult>(&attempt.dir.join(RESULT_FILE))? {
            self.attempts.remove(&attempt.dir);
            return Ok(Observation::Exited(result));
        }
        if let Some(started) = read_torn::<Started>(&attempt.dir.join(STARTED_FILE))? {
            return self.observe_started(attempt, started);
        }
        match read_torn::<ProcessId>(&attempt.dir.join(CLAIM_FILE))? {
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

    fn events(&mut self, attempt: &AttemptRef, offset: u64) -> Result<(Vec<Event>, u64), ExecutorError> {
        let path = events_file(&attempt.dir);
        let mut tail = EventTail::new(path.clone(), offset);
        let events =
            tail.read().map_err(|error| ExecutorError::Encode { path, problem: error.to_string() })?;
        Ok((events, tail.offset()))
    }

    fn devices(&mut self, attempt: &AttemptRef) -> Vec<u32> {
        devices_of(attempt)
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

    fn wait(&mut self, millis: u64) -> Vec<PathBuf> {
        let watched: Vec<(&PathBuf, &OwnedFd)> = self
            .attempts
            .iter()
            .filter_map(|(dir, followed)| Some((dir, followed.ended.as_ref()?)))
            .collect();
        let mut fds: Vec<PollFd<'_>> =
            watched.iter().map(|(_, ended)| PollFd::new(*ended, PollFlags::IN)).collect();
        fds.push(PollFd::from_borrowed_fd(self.waker.fd(), PollFlags::IN));
        let limit = Timespec { tv_sec: (millis / 1000) as i64, tv_nsec: (millis % 1000 * 1_000_000) as i64 };
        if !matches!(poll(&mut fds, Some(&limit)), Ok(1..)) {
            return Vec::new();
        }
        let ready = watched.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        let ready: Vec<PathBuf> = ready.map(|((dir, _), _)| (*dir).clone()).collect();
        self.waker.clear();
        for dir in &ready {
            // It stays readable; what follows it, if anything, is found by the next look.
            if let Some(followed) = self.attempts.get_mut(dir) {
                followed.ended = None;
            }
        }
        ready
    }
}

/// What the worker's environment says, beside what it inherits.
fn environment_of(order: &WorkOrder<'_>) -> BTreeMap<String, String> {
    let devices: Vec<String> = order.devices.iter().map(ToString::to_string).collect();
    let mut environment = BTreeMap::from([
        (
            "OMP_NUM_THREADS".to_owned(),
            (order.job.threads / order.job.parallel.data.max(1)).max(1).to_string(),
        ),
        // Ranks on devices connect while they join, which has a time-out, and not at their first operation, which has none.
        ("NCCL_RUNTIME_CONNECT".to_owned(), "0".to_owned()),
        // Threads that wait for the next operator spin a moment and then sleep: asleep at once they wake too late for short operators,
        // and for ever spinning ones take the cores from everybody else on a busy machine.
        ("GOMP_SPINCOUNT".to_owned(), SPINS.to_owned()),
        // A step that was given no device sees none.
        ("CUDA_VISIBLE_DEVICES".to_owned(), devices.join(",")),
    ]);
    if trains(order.job.params.kind()) {
        // Small pieces that the allocator sets aside for a thread lie between large ones and keep them from being joined: a training then
        // takes about a fifth more memory, by how much nobody can reckon.
        environment.insert("GLIBC_TUNABLES".to_owned(), TRAINING_ALLOCATOR.to_owned());
    }
    if order.job.device == Device::Cuda && order.job.deterministic {
        // cuBLAS gives the same bits at each run only with a fixed workspace, which it reads when the process starts.
        environment.insert("CUBLAS_WORKSPACE_CONFIG".to_owned(), ":4096:8".to_owned());
    }
    if let Some(traceparent) = &order.traceparent {
        environment.insert("TRACEPARENT".to_owned(), traceparent.clone());
    }
    environment
}

fn worker_of(started: &Started) -> ProcessId {
    ProcessId { pid: started.worker_pid, start_ticks: started.start_ticks, boot_id: started.boot_id.clone() }
}

/// Reads a file that was not synced. One that is torn is of a boot before this one, and so is whatever process it spoke of.
fn read_torn<T: serde::de::DeserializeOwned + Gone>(path: &Path) -> Result<Option<T>, ExecutorError> {
    match read_json(path) {
        Err(ExecutorError::Encode { .. }) => Ok(Some(T::gone())),
        other => other,
    }
}

/// What stands for a process that is gone for certain.
trait Gone {
    fn gone() -> Self;
}

impl Gone for ProcessId {
    fn gone() -> Self {
        Self { pid: 0, start_ticks: 0, boot_id: String::new() }
    }
}

impl Gone for Started {
    fn gone() -> Self {
        Self { shim_pid: 0, worker_pid: 0, start_ticks: 0, boot_id: String::new(), token: String::new() }
    }
}
