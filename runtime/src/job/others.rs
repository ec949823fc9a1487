//! The other ranks of a step that its first one starts: processes of the same program on the same job file, in its session. They die with
//! it, its wish to stop is theirs, and what they say at their end is what it says of them.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cupola_specs::contract::{Event, EventBody, Failure};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

use super::place::beside;
use super::{JobError, Place};

/// The first rank's process id, for the ranks that it starts.
const FIRST_RANK: &str = "CUPOLA_FIRST_RANK";
const LOOK: Duration = Duration::from_millis(20);
/// How long the last words of a rank are waited for.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// How the ranks that ended did so, by rank.
#[derive(Debug, Default)]
pub(super) struct Ended(Mutex<Vec<(usize, ExitStatus)>>);

impl Ended {
    fn all(&self) -> Vec<(usize, ExitStatus)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first rank that ended otherwise than well, in words.
    pub(super) fn lost(&self) -> Option<String> {
        self.all().iter().find(|(_, status)| !status.success()).map(|(rank, status)| words(*rank, *status))
    }
}

fn words(rank: usize, status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("rank {rank} was ended by signal {signal}"),
        (None, code) => format!("rank {rank} ended with code {}", code.unwrap_or(-1)),
    }
}

/// The processes of the other ranks, and the thread that looks after them.
#[derive(Debug)]
pub(super) struct Others {
    ended: Arc<Ended>,
    is_over: Arc<AtomicBool>,
    keeper: Option<std::thread::JoinHandle<()>>,
    count: usize,
}

impl Others {
    /// Starts the ranks after the first. `stop` is raised when this process is asked to end: they are asked then, too.
    ///
    /// They die with the thread that calls this, which is the process's first one.
    pub(super) fn start(
        place: &Place,
        job_file: &Path,
        events: &Path,
        (threads, stop): (u32, Arc<AtomicBool>),
    ) -> Result<Self, JobError> {
        let mut children = Vec::new();
        for rank in 1..place.world_size {
            match start_one(place, job_file, events, (rank, threads)) {
                Ok(child) => children.push((rank, child)),
                Err(error) => {
                    end_all(&mut children);
                    return Err(error);
                }
            }
        }
        let (ended, is_over) = (Arc::<Ended>::default(), Arc::new(AtomicBool::new(false)));
        let (seen, over, count) = (Arc::clone(&ended), Arc::clone(&is_over), children.len());
        let keeper = std::thread::spawn(move || look_after(children, &seen, &over, &stop));
        Ok(Self { ended, is_over, keeper: Some(keeper), count })
    }

    /// How the ranks that ended did so.
    pub(super) fn ended(&self) -> Arc<Ended> {
        Arc::clone(&self.ended)
    }

    /// Waits until all have ended, at most for a while.
    pub(super) fn settle(&self, limit: Duration) {
        let begin = Instant::now();
        while self.ended.all().len() < self.count && begin.elapsed() < limit {
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(keeper) = self.keeper.take() {
            let _panicked = keeper.join();
        }
    }
}

fn start_one(
    place: &Place,
    job_file: &Path,
    events: &Path,
    (rank, threads): (usize, u32),
) -> Result<Child, JobError> {
    let log = beside(events, rank, "stderr.log");
    let wrap = |error| JobError::io(&log, error);
    let stderr = File::options().create(true).append(true).open(&log).map_err(wrap)?;
    let stdout = stderr.try_clone().map_err(wrap)?;
    let program: PathBuf = std::env::current_exe().map_err(|error| JobError::io("/proc/self/exe", error))?;
    let mut command = Command::new(&program);
    command.arg(job_file).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    command.envs(place.environment(rank)).env(FIRST_RANK, std::process::id().to_string());
    command.env("OMP_NUM_THREADS", threads.to_string());
    command.spawn().map_err(|error| JobError::io(&program, error))
}

/// Notes who ended, hands the wish to stop on, and ends who is left when the first rank's work is over.
fn look_after(mut children: Vec<(usize, Child)>, seen: &Ended, is_over: &AtomicBool, stop: &AtomicBool) {
    let mut has_asked = false;
    while !children.is_empty() && !is_over.load(Ordering::SeqCst) {
        children.retain_mut(|(rank, child)| match child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) => {
                seen.0.lock().unwrap_or_else(PoisonError::into_inner).push((*rank, status));
                false
            }
            Err(_) => false,
        });
        if stop.load(Ordering::Relaxed) && !has_asked {
            has_asked = true;
            for pid in children.iter().filter_map(|(_, child)| Pid::from_raw(child.id().cast_signed())) {
                // One that ended a moment ago hears nothing.
                let _ended = kill_process(pid, Signal::TERM);
            }
        }
        std::thread::sleep(LOOK);
    }
    end_all(&mut children);
}

fn end_all(children: &mut [(usize, Child)]) {
    for (_, child) in children {
        let _ended = child.kill();
        let _reaped = child.wait();
    }
}

/// Ties this process to the first rank that started it; nothing where nobody did.
///
/// # Errors
/// A first rank that is gone already.
pub(super) fn die_with_the_first(variable: &dyn Fn(&str) -> Option<String>) -> Result<(), JobError> {
    let Some(first) = variable(FIRST_RANK) else { return Ok(()) };
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| JobError::io("prctl", error.into()))?;
    let parent = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if parent.as_deref() == Some(first.as_str()) {
        return Ok(());
    }
    Err(JobError::Ranks { message: format!("the first rank (process {first}) is gone") })
}

/// What the first rank says at its end where it lost another: that one's own reason, where it gave one, else how it ended.
pub(super) fn explain(failure: Failure, events: &Path, ranks: usize, ended: Option<&Ended>) -> Failure {
    if failure.code != Failure::RANK_LOST {
        return failure;
    }
    let begin = Instant::now();
    loop {
        // Looked at before what it said: whoever ended has said all.
        let killed = ended.and_then(Ended::lost);
        for rank in 1..ranks {
            let said = last_failure(&beside(events, rank, "events.jsonl"));
            if let Some(cause) =
                said.filter(|said| ![Failure::RANK_LOST, Failure::CANCELLED].contains(&said.code.as_str()))
            {
                return Failure { message: format!("rank {rank}: {}", cause.message), ..cause };
            }
        }
        if killed.is_some() || begin.elapsed() > LAST_WORDS {
            let message = match killed {
                Some(how) => format!("{how}: {}", failure.message),
                None => failure.message.clone(),
            };
            return Failure { message, ..failure };
        }
        std::thread::sleep(LOOK);
    }
}

/// The reason with which a stream ends.
fn last_failure(events: &Path) -> Option<Failure> {
    let text = std::fs::read_to_string(events).ok()?;
    let last: Event = serde_json::from_str(text.lines().last()?).ok()?;
    match last.body {
        EventBody::Failed(failure) => Some(failure),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use cupola_specs::contract::ErrorClass;

    use super::*;
    use crate::job::EventWriter;

    fn lost() -> Failure {
        Failure {
            class: ErrorClass::Transient,
            code: Failure::RANK_LOST.into(),
            message: "rank 0: all_reduce failed".into(),
            hint: String::new(),
        }
    }

    #[test]
    fn a_lost_ranks_own_reason_is_the_steps_and_without_one_how_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let events = dir.path().join("events.jsonl");
        let killed = Ended(Mutex::new(vec![(1, ExitStatus::from_raw(0)), (2, ExitStatus::from_raw(9))]));
        let told = explain(lost(), &events, 3, Some(&killed));
        assert_eq!(told.message, "rank 2 was ended by signal 9: rank 0: all_reduce failed");
        assert_eq!((told.class, told.code.as_str()), (ErrorClass::Transient, Failure::RANK_LOST));
        // Another that lost it too is no reason; one with its own is.
        let said = |rank: usize, failure: Failure| {
            EventWriter::open(&beside(&events, rank, "events.jsonl")).unwrap().failed(failure).unwrap();
        };
        said(1, lost());
        assert_eq!(explain(lost(), &events, 3, Some(&killed)).code, Failure::RANK_LOST);
        let own = Failure {
            class: ErrorClass::User,
            code: "training_data".into(),
            message: "a broken shard".into(),
            hint: "mend it".into(),
        };
        said(2, own.clone());
        let told = explain(lost(), &events, 3, Some(&killed));
        assert_eq!(told, Failure { message: "rank 2: a broken shard".into(), ..own.clone() });
        assert_eq!(explain(own.clone(), &events, 3, Some(&killed)), own, "what is no lost rank stays");
    }
}
