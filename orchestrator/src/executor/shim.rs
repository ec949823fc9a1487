//! The shim: the small process that each attempt runs under, in its own session, so that the orchestrator may die.
//!
//! Order: `claim.json` (exclusive: one shim an attempt) → the worker starts → `started.json` (exclusive) → `heartbeat` each second →
//! `result.json` by write, fsync, rename. A shim that dies leaves the worker running; the worker's job path in the process table is then
//! the way to find it.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cupola_specs::contract::{JobFile, ShimResult, Started};
use serde::Serialize;

use super::process::{children_cpu_millis, peak_rss_bytes};
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
const POLLS_A_BEAT: u32 = 5;
/// Rounds that a thread of the worker spins for before it sleeps.
const SPINS: &str = "20000";

/// Runs one attempt from claim to result.
pub fn run_shim(attempt: &Path, worker: &Path) -> Result<(), ExecutorError> {
    // Fails only where this process leads a session already, which is as good.
    let _ = rustix::process::setsid();
    let job_path = attempt.join(JOB_FILE);
    let bytes = std::fs::read(&job_path).map_err(ExecutorError::io(&job_path))?;
    let job: JobFile = serde_json::from_slice(&bytes).map_err(|error| encode_error(&job_path, &error))?;
    let me = ProcessId::current().ok_or_else(|| ExecutorError::Io {
        path: PathBuf::from("/proc/self/stat"),
        source: std::io::Error::other("unreadable"),
    })?;
    create_exclusively(&attempt.join(CLAIM_FILE), &me)?;
    let stderr_path = attempt.join("stderr.log");
    let spawned = spawn_worker(worker, &job_path, &stderr_path, job.threads)?;
    let mut child = match spawned {
        Ok(child) => child,
        Err(source) => {
            let _ = std::fs::write(&stderr_path, format!("could not start {}: {source}\n", worker.display()));
            let result = ShimResult {
                token: job.token,
                exit_code: Some(127),
                signal: None,
                peak_rss_bytes: 0,
                cpu_millis: 0,
            };
            return replace_durably(&attempt.join(RESULT_FILE), &result);
        }
    };
    let pid = child.id();
    let started = Started {
        shim_pid: me.pid,
        worker_pid: pid,
        start_ticks: ProcessId::of(pid).map_or(0, |id| id.start_ticks),
        boot_id: me.boot_id,
        token: job.token.clone(),
    };
    create_exclusively(&attempt.join(STARTED_FILE), &started)?;
    let (done, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let beat = std::thread::spawn({
        let (done, peak, path) = (done.clone(), peak.clone(), attempt.join(HEARTBEAT_FILE));
        move || beat(&path, pid, &done, &peak)
    });
    let status = child.wait().map_err(ExecutorError::io(worker))?;
    done.store(true, Ordering::Relaxed);
    beat.thread().unpark();
    let result = ShimResult {
        token: job.token,
        exit_code: status.code(),
        signal: status.signal(),
        peak_rss_bytes: peak.load(Ordering::Relaxed),
        cpu_millis: children_cpu_millis(),
    };
    replace_durably(&attempt.join(RESULT_FILE), &result)
}

/// Starts the worker with its output in a file. The outer error is of the file, the inner one of the worker.
fn spawn_worker(
    worker: &Path,
    job: &Path,
    log: &Path,
    threads: u32,
) -> Result<std::io::Result<Child>, ExecutorError> {
    let stderr = File::options().create(true).append(true).open(log).map_err(ExecutorError::io(log))?;
    let stdout = stderr.try_clone().map_err(ExecutorError::io(log))?;
    let mut command = Command::new(worker);
    command.arg(job).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    // Threads that wait for the next operator spin a moment and then sleep: asleep at once they wake too late for short operators, and
    // for ever spinning ones take the cores from everybody else on a busy machine.
    command.env("OMP_NUM_THREADS", threads.to_string()).env("GOMP_SPINCOUNT", SPINS);
    Ok(command.spawn())
}

fn beat(path: &Path, pid: u32, done: &AtomicBool, peak: &AtomicU64) {
    let mut count = 0u32;
    while !done.load(Ordering::Relaxed) {
        peak.fetch_max(peak_rss_bytes(pid), Ordering::Relaxed);
        if count.is_multiple_of(POLLS_A_BEAT) {
            // A full disk must not end the worker: a beat that is not written is only a beat that is missed.
            let _ = std::fs::write(path, count.to_string());
        }
        count = count.wrapping_add(1);
        std::thread::park_timeout(BEAT / POLLS_A_BEAT);
    }
}

/// Writes a file that must not be there yet, whole or not at all.
pub(super) fn create_exclusively(path: &Path, value: &impl Serialize) -> Result<(), ExecutorError> {
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    write_synced(&draft, value)?;
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
    write_synced(&draft, value)?;
    std::fs::rename(&draft, path).map_err(ExecutorError::io(path))?;
    if let Some(folder) = path.parent() {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(ExecutorError::io(folder))?;
    }
    Ok(())
}

fn write_synced(path: &Path, value: &impl Serialize) -> Result<(), ExecutorError> {
    let bytes = serde_json::to_vec(value).map_err(|error| encode_error(path, &error))?;
    let mut file = File::create(path).map_err(ExecutorError::io(path))?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(ExecutorError::io(path))
}

fn encode_error(path: &Path, error: &serde_json::Error) -> ExecutorError {
    ExecutorError::Encode { path: path.to_path_buf(), problem: error.to_string() }
}
