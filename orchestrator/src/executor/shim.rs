//! The shim: the small process that each attempt runs under, in its own session, so that the orchestrator may die.
//!
//! Order: `claim.json` (exclusive: one shim an attempt) → the worker starts → `started.json` (exclusive) → `heartbeat` each second →
//! `result.json` by write, fsync, rename. A shim that dies leaves the worker running; the worker's job path in the process table is then
//! the way to find it.
//!
//! Claim and start are not synced: what they say is of live processes, and a machine that lost power has none. A file that came out
//! torn is therefore one of an earlier boot.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use cupola_specs::contract::{ShimResult, Started};
use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};
use nix::sys::time::TimeValLike;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::{ExecutorError, ProcessId};

/// The claim of an attempt: who runs it, or who made sure that nobody does.
pub(super) const CLAIM_FILE: &str = "claim.json";
/// The shim's word that the worker runs.
pub(super) const STARTED_FILE: &str = "started.json";
/// Touched each second.
pub(super) const HEARTBEAT_FILE: &str = "heartbeat";
/// The shim's last word.
pub(super) const RESULT_FILE: &str = "result.json";
/// The job file.
pub(super) const JOB_FILE: &str = "job.json";

const BEAT: Duration = Duration::from_secs(1);
const SIGKILL: i32 = rustix::process::Signal::KILL.as_raw();
/// How much of a log's end is read for the reason of an abort.
const LAST_WORDS_BYTES: u64 = 16 << 10;
/// What the allocators of Rust and of C++ say before they abort.
const FAILED_ALLOCATIONS: [&str; 2] = ["memory allocation of ", "std::bad_alloc"];

/// What a shim is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ShimOrder {
    /// The attempt's folder, which holds `job.json`.
    pub(super) attempt: PathBuf,
    /// The worker binary.
    pub(super) worker: PathBuf,
    /// `epoch.attempt`.
    pub(super) token: String,
    /// Bytes of memory that the worker may take; 0 is no limit.
    pub(super) memory_limit_bytes: u64,
    /// Environment of the worker, beside what it inherits.
    pub(super) env: BTreeMap<String, String>,
}

/// Runs one attempt from claim to result. `kills_before` is what [`out_of_memory_kills`] said before the worker starts.
pub(super) fn run_shim(order: &ShimOrder, kills_before: u64) -> Result<(), ExecutorError> {
    // Fails only where this process leads a session already, which is as good.
    let _ = rustix::process::setsid();
    let attempt = &order.attempt;
    let me = ProcessId::current().ok_or_else(|| ExecutorError::Io {
        path: "/proc/self/stat".into(),
        source: std::io::Error::other("unreadable"),
    })?;
    create_exclusively(&attempt.join(CLAIM_FILE), &me)?;
    let log = attempt.join("stderr.log");
    limit_memory(order.memory_limit_bytes)?;
    let mut child = match spawn_worker(order, &log)? {
        Ok(child) => child,
        Err(source) => {
            let _ = std::fs::write(&log, format!("could not start {}: {source}\n", order.worker.display()));
            return replace_durably(&attempt.join(RESULT_FILE), &result(order, None, false));
        }
    };
    let pid = child.id();
    let started = Started {
        shim_pid: me.pid,
        worker_pid: pid,
        start_ticks: ProcessId::of(pid).map_or(0, |id| id.start_ticks),
        boot_id: me.boot_id,
        token: order.token.clone(),
    };
    create_exclusively(&attempt.join(STARTED_FILE), &started)?;
    let status =
        wait_beating(&mut child, &attempt.join(HEARTBEAT_FILE)).map_err(ExecutorError::io(&order.worker))?;
    let out_of_memory = match status.signal() {
        // The counter is the machine's: with our worker killed as well, it is taken for ours.
        Some(SIGKILL) => out_of_memory_kills() > kills_before,
        Some(_) => says_out_of_memory(&log),
        None => false,
    };
    replace_durably(&attempt.join(RESULT_FILE), &result(order, Some(status), out_of_memory))
}

/// Processes that this machine's kernel has killed for want of memory; 0 where it does not say.
pub(super) fn out_of_memory_kills() -> u64 {
    let counters = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let kills = counters.lines().find_map(|line| line.strip_prefix("oom_kill "));
    kills.and_then(|kills| kills.trim().parse().ok()).unwrap_or(0)
}

/// Limits the memory of what this process starts: private memory that can be written, whether it was touched yet or not.
fn limit_memory(bytes: u64) -> Result<(), ExecutorError> {
    if bytes == 0 {
        return Ok(());
    }
    let limited = setrlimit(Resource::RLIMIT_DATA, bytes, bytes);
    limited.map_err(|error| ExecutorError::Io { path: "RLIMIT_DATA".into(), source: error.into() })
}

/// Whether a worker's last words are that an allocation failed.
fn says_out_of_memory(log: &Path) -> bool {
    let Ok(mut file) = File::open(log) else { return false };
    let length = file.metadata().map_or(0, |meta| meta.len());
    let mut words = Vec::new();
    let read = file
        .seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS_BYTES)))
        .and_then(|_| file.take(LAST_WORDS_BYTES).read_to_end(&mut words));
    let words = String::from_utf8_lossy(&words);
    read.is_ok() && FAILED_ALLOCATIONS.iter().any(|said| words.contains(said))
}

/// How the worker ended, with what it used; without a status it could not be started.
fn result(order: &ShimOrder, status: Option<ExitStatus>, out_of_memory: bool) -> ShimResult {
    // Of this process's only child; the kernel counts memory in KiB.
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).ok().filter(|_| status.is_some());
    ShimResult {
        token: order.token.clone(),
        exit_code: status.map_or(Some(127), |status| status.code()),
        signal: status.and_then(|status| status.signal()),
        peak_rss_bytes: usage.map_or(0, |usage| usage.max_rss().max(0) as u64 * 1024),
        cpu_millis: usage
            .map_or(0, |usage| (usage.user_time() + usage.system_time()).num_milliseconds().max(0) as u64),
        out_of_memory,
    }
}

/// Starts the worker with its output in a file. The outer error is of the file, the inner one of the worker.
fn spawn_worker(order: &ShimOrder, log: &Path) -> Result<std::io::Result<Child>, ExecutorError> {
    let stderr = File::options().create(true).append(true).open(log).map_err(ExecutorError::io(log))?;
    let stdout = stderr.try_clone().map_err(ExecutorError::io(log))?;
    let mut command = Command::new(&order.worker);
    command.arg(order.attempt.join(JOB_FILE)).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    command.envs(&order.env);
    Ok(command.spawn())
}

/// Waits for the worker and touches the heartbeat each second.
fn wait_beating(child: &mut Child, heartbeat: &Path) -> std::io::Result<ExitStatus> {
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or_else(|| std::io::Error::other("no pid"))?;
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    let beat = Timespec { tv_sec: BEAT.as_secs() as i64, tv_nsec: 0 };
    for count in 1u64.. {
        match poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&beat)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {
                // A full disk must not end the worker: a beat that is not written is only a beat that is missed.
                let _ = std::fs::write(heartbeat, count.to_string());
            }
            Ok(_) => break,
            Err(error) => return Err(error.into()),
        }
    }
    child.wait()
}

/// Writes a file that must not be there yet, whole or not at all.
pub(super) fn create_exclusively(path: &Path, value: &impl Serialize) -> Result<(), ExecutorError> {
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let bytes = serde_json::to_vec(value).map_err(|error| encode_error(path, &error))?;
    std::fs::write(&draft, bytes).map_err(ExecutorError::io(&draft))?;
    let linked = std::fs::hard_link(&draft, path);
    let _ = std::fs::remove_file(&draft);
    match linked {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(ExecutorError::Taken { path: path.to_path_buf() })
        }
        Err(source) => Err(ExecutorError::Io { path: path.to_path_buf(), source }),
    }
}

fn replace_durably(path: &Path, value: &impl Serialize) -> Result<(), ExecutorError> {
    let draft = path.with_extension("draft");
    let bytes = serde_json::to_vec(value).map_err(|error| encode_error(path, &error))?;
    let mut file = File::create(&draft).map_err(ExecutorError::io(&draft))?;
    file.write_all(&bytes).and_then(|()| file.sync_data()).map_err(ExecutorError::io(&draft))?;
    std::fs::rename(&draft, path).map_err(ExecutorError::io(path))
}

fn encode_error(path: &Path, error: &serde_json::Error) -> ExecutorError {
    ExecutorError::Encode { path: path.to_path_buf(), problem: error.to_string() }
}
