//! The list of faults: each is done to a drill of its own, which must come to its end all the same.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::ChaosError;
use super::ground::Ground;
use super::kills::signal;
use crate::state::{State, StateDir, StepState, read_state};

/// A fault, what its user sees, and how it is done.
pub struct Fault {
    /// What is done.
    pub name: &'static str,
    /// What the user sees.
    pub seen: &'static str,
    act: fn(&Ground) -> Result<Done, ChaosError>,
}

/// Whether a fault could be done here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// It was, and the drill stood it.
    Stood,
    /// This machine lacks what it needs.
    Skipped(String),
}

/// Every fault.
pub const FAULTS: &[Fault] = &[
    Fault {
        name: "worker killed",
        seen: "the attempt failed (killed); the next one goes on from its checkpoint",
        act: worker_killed,
    },
    Fault { name: "shim killed", seen: "nothing: the worker goes on and is committed", act: shim_killed },
    Fault {
        name: "worker and shim killed",
        seen: "the attempt is lost, proven by the process table; the next one goes on from its checkpoint",
        act: both_killed,
    },
    Fault {
        name: "fork server killed",
        seen: "nothing: its shims go on, and the next step starts another one",
        act: fork_server_killed,
    },
    Fault {
        name: "worker and shim stopped past the lease, then continued",
        seen: "the step is `unknown`, keeps its slot, and is `running` again; no second attempt",
        act: stopped,
    },
    Fault {
        name: "orchestrator killed, a step ends meanwhile",
        seen: "the next `apply` commits it without running it again",
        act: orphaned,
    },
    Fault {
        name: "orchestrator stopped, a second one comes",
        seen: "the second is refused with the first one's pid and host; the first goes on when continued",
        act: second_refused,
    },
    Fault { name: "two orchestrators at once", seen: "one works, the other is refused", act: two_at_once },
    Fault {
        name: "journal cut at its end by 1 to 4096 bytes",
        seen: "a warning that counts the records which came back from the database",
        act: journal_cut,
    },
    Fault {
        name: "a byte flipped at 200 places of the journal",
        seen: "a warning that names the record and counts those which came back from the database",
        act: journal_flipped,
    },
    Fault {
        name: "database deleted",
        seen: "nothing: it is made again from the journal",
        act: database_deleted,
    },
    Fault {
        name: "a byte flipped at 200 places of the database",
        seen: "a warning where the damage is met: the database is set aside and made again",
        act: database_flipped,
    },
    Fault {
        name: "state folder copied while workers run",
        seen: "the copy starts its own attempts; the original's go on",
        act: copied,
    },
    Fault {
        name: "fsync fails (EIO)",
        seen: "`apply` ends with the path and what the system said; the next one goes on",
        act: sync_fails,
    },
    Fault {
        name: "clock set two hours forwards and back",
        seen: "nothing: waits go by a clock that can't be set",
        act: clock_set,
    },
    Fault {
        name: "disk full (8 MB)",
        seen: "the run pauses and says how much room is missing; with that it goes on by itself",
        act: disk_full,
    },
];

impl Fault {
    /// Does it to a drill below `root`.
    pub fn run(&self, root: &Path) -> Result<Done, ChaosError> {
        let ground = Ground::new(root, self.name)?;
        let done = (self.act)(&ground)?;
        if done == Done::Stood {
            // What is proven needs no room.
            let _ = std::fs::remove_dir_all(ground.dir.root());
        }
        Ok(done)
    }
}

/// Does something to the slow step's worker and shim while the orchestrator goes on.
fn while_slow(ground: &Ground, act: impl FnOnce(u32, u32)) -> Result<(), ChaosError> {
    let orchestrator = ground.start(&["env"])?;
    let (_, started) =
        ground.worker_of("slow").ok_or_else(|| ground.broken("the slow step never started"))?;
    std::thread::sleep(Duration::from_millis(500));
    act(started.worker_pid, started.shim_pid);
    let (code, words) = ground.wait(orchestrator)?;
    if code != Some(0) {
        return Err(ground.broken(format!("the orchestrator ended: {words}")));
    }
    ground.judge()
}

fn attempts_are(ground: &Ground, expected: usize) -> Result<Done, ChaosError> {
    match ground.num_attempts("slow")? {
        count if count == expected => Ok(Done::Stood),
        count => Err(ground.broken(format!("the slow step took {count} attempts, expected {expected}"))),
    }
}

fn worker_killed(ground: &Ground) -> Result<Done, ChaosError> {
    while_slow(ground, |worker, _| {
        signal(worker, Signal::KILL);
    })?;
    attempts_are(ground, 2)
}

fn shim_killed(ground: &Ground) -> Result<Done, ChaosError> {
    while_slow(ground, |_, shim| {
        signal(shim, Signal::KILL);
    })?;
    attempts_are(ground, 1)
}

fn both_killed(ground: &Ground) -> Result<Done, ChaosError> {
    while_slow(ground, |worker, shim| {
        signal(shim, Signal::KILL);
        signal(worker, Signal::KILL);
    })?;
    attempts_are(ground, 2)
}

fn fork_server_killed(ground: &Ground) -> Result<Done, ChaosError> {
    let mut killed = false;
    while_slow(ground, |_, shim| {
        let status = std::fs::read_to_string(format!("/proc/{shim}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
        killed = parent.is_some_and(|server: u32| server > 1 && signal(server, Signal::KILL));
    })?;
    if !killed {
        return Err(ground.broken("the fork server was not found"));
    }
    attempts_are(ground, 1)
}

fn stopped(ground: &Ground) -> Result<Done, ChaosError> {
    let mut unknown = false;
    while_slow(ground, |worker, shim| {
        signal(shim, Signal::STOP);
        signal(worker, Signal::STOP);
        // The lease of a drill is one second.
        for _ in 0..40 {
            std::thread::sleep(Duration::from_millis(100));
            let state = read_state(&ground.dir);
            let step = state.iter().filter_map(|state| state.latest_run(None)?.step("slow"));
            unknown |= step.into_iter().any(|step| step.state == StepState::Unknown);
        }
        signal(worker, Signal::CONT);
        signal(shim, Signal::CONT);
    })?;
    if !unknown {
        return Err(ground.broken("the step was never `unknown`"));
    }
    attempts_are(ground, 1)
}

fn orphaned(ground: &Ground) -> Result<Done, ChaosError> {
    let orchestrator = ground.start(&["env"])?;
    ground.worker_of("slow").ok_or_else(|| ground.broken("the slow step never started"))?;
    drop(orchestrator);
    std::thread::sleep(Duration::from_secs(5));
    ground.finish()?;
    ground.judge()?;
    attempts_are(ground, 1)
}

/// A second orchestrator must be refused with the pid of the first.
fn must_refuse(ground: &Ground, first: u32) -> Result<(), ChaosError> {
    let (code, words) = ground.wait(ground.start(&["env"])?)?;
    if code == Some(0) || !words.contains(&first.to_string()) {
        return Err(ground.broken(format!("the second was told: {words}")));
    }
    Ok(())
}

fn second_refused(ground: &Ground) -> Result<Done, ChaosError> {
    let orchestrator = ground.start(&["env"])?;
    let first = orchestrator.0.id();
    ground.worker_of("slow").ok_or_else(|| ground.broken("the slow step never started"))?;
    signal(first, Signal::STOP);
    // Longer than the lease: a lock that is held is held, however silent its holder is.
    std::thread::sleep(Duration::from_millis(1_500));
    let refused = must_refuse(ground, first);
    signal(first, Signal::CONT);
    refused?;
    let (code, words) = ground.wait(orchestrator)?;
    if code != Some(0) {
        return Err(ground.broken(format!("the first ended: {words}")));
    }
    ground.judge()?;
    attempts_are(ground, 1)
}

fn two_at_once(ground: &Ground) -> Result<Done, ChaosError> {
    let (one, other) = (ground.start(&["env"])?, ground.start(&["env"])?);
    let ends = [ground.wait(one)?, ground.wait(other)?];
    if ends.iter().filter(|(code, _)| *code == Some(0)).count() != 1 {
        return Err(ground.broken(format!("they ended: {ends:?}")));
    }
    ground.judge()?;
    Ok(Done::Stood)
}

/// Kills the orchestrator in the middle, damages what lies there, and lets another one finish.
fn damaged(ground: &Ground, damage: impl FnOnce() -> std::io::Result<()>) -> Result<Done, ChaosError> {
    let orchestrator = ground.start(&["env"])?;
    ground.worker_of("slow").ok_or_else(|| ground.broken("the slow step never started"))?;
    drop(orchestrator);
    damage().map_err(ChaosError::io(ground.dir.root()))?;
    ground.finish()?;
    ground.judge()?;
    Ok(Done::Stood)
}

fn journal_cut(ground: &Ground) -> Result<Done, ChaosError> {
    let orchestrator = ground.start(&["env"])?;
    ground.worker_of("slow").ok_or_else(|| ground.broken("the slow step never started"))?;
    drop(orchestrator);
    let path = ground.dir.journal();
    for cut in [1, 2, 17, 100, 511, 1_024, 2_047, 4_096] {
        let length = std::fs::metadata(&path).map_err(ChaosError::io(&path))?.len();
        let file = std::fs::File::options().write(true).open(&path).map_err(ChaosError::io(&path))?;
        file.set_len(length.saturating_sub(cut)).map_err(ChaosError::io(&path))?;
        drop(State::open(&ground.dir, "chaos")?);
    }
    ground.finish()?;
    ground.judge()?;
    attempts_are(ground, 1)
}

fn database_deleted(ground: &Ground) -> Result<Done, ChaosError> {
    damaged(ground, || std::fs::remove_dir_all(ground.dir.database()))
}

fn journal_flipped(ground: &Ground) -> Result<Done, ChaosError> {
    // The magic names the schema: it is no record.
    let after_magic = 8;
    flipped(ground, &ground.dir.journal(), after_magic, "journal")
}

fn database_flipped(ground: &Ground) -> Result<Done, ChaosError> {
    flipped(ground, &ground.dir.database().join("db"), 0, "database")
}

/// Flips a bit at even distances over a file of a drill that is done, one after the other: none changes what is true.
fn flipped(ground: &Ground, file: &Path, first: usize, what: &str) -> Result<Done, ChaosError> {
    const PLACES: usize = 200;
    ground.finish()?;
    ground.judge()?;
    let before = read_state(&ground.dir)?;
    for place in 0..PLACES {
        let mut bytes = std::fs::read(file).map_err(ChaosError::io(file))?;
        let at = first + (bytes.len() - first) * place / PLACES;
        bytes[at] ^= 1 << (place % 8);
        std::fs::write(file, &bytes).map_err(ChaosError::io(file))?;
        let state = State::open(&ground.dir, "chaos")?;
        if state.projection().runs() != before.runs() || state.projection().artifacts() != before.artifacts()
        {
            return Err(ground.broken(format!("byte {at} of the {what} changed what is true")));
        }
    }
    ground.finish()?;
    ground.judge()?;
    Ok(Done::Stood)
}

fn copied(ground: &Ground) -> Result<Done, ChaosError> {
    let orchestrator = ground.start(&["env"])?;
    ground.worker_of("slow").ok_or_else(|| ground.broken("the slow step never started"))?;
    drop(orchestrator);
    let copy = ground.in_folder(&ground.dir.root().with_extension("copy"))?;
    let status = Command::new("cp").arg("-a").arg(ground.dir.root()).arg(copy.dir.root()).status();
    if !status.is_ok_and(|status| status.success()) {
        return Ok(Done::Skipped("`cp -a` does not work here".to_owned()));
    }
    copy.finish()?;
    copy.judge()?;
    ground.finish()?;
    ground.judge()?;
    let _ = std::fs::remove_dir_all(copy.dir.root());
    attempts_are(ground, 1)
}

fn is_there(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn sync_fails(ground: &Ground) -> Result<Done, ChaosError> {
    if !is_there("strace", "--version") {
        return Ok(Done::Skipped("there is no `strace` here".to_owned()));
    }
    let inject = "inject=fdatasync:error=EIO:when=25+";
    let traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", inject];
    let (code, words) = ground.wait(ground.start(&traced)?)?;
    if code == Some(0) || !words.contains("Input/output error") {
        return Err(ground.broken(format!("the orchestrator was told of EIO and said: {words} ({code:?})")));
    }
    ground.finish()?;
    ground.judge()?;
    Ok(Done::Stood)
}

fn clock_set(ground: &Ground) -> Result<Done, ChaosError> {
    if !is_there("faketime", "--version") {
        return Ok(Done::Skipped("there is no `faketime` here".to_owned()));
    }
    for offset in ["+2h", "-2h"] {
        let orchestrator = ground.start(&["faketime", "-f", offset])?;
        std::thread::sleep(Duration::from_millis(700));
        drop(orchestrator);
    }
    ground.finish()?;
    ground.judge()?;
    Ok(Done::Stood)
}

fn disk_full(ground: &Ground) -> Result<Done, ChaosError> {
    let root = ground.dir.root();
    std::fs::create_dir_all(root).map_err(ChaosError::io(root))?;
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m", "drill"])
        .arg(root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return Ok(Done::Skipped("a file system can't be mounted here".to_owned()));
    }
    let result = fill_and_finish(ground, root);
    let _ = Command::new("umount").arg("-l").arg(root).status();
    result
}

fn fill_and_finish(ground: &Ground, root: &Path) -> Result<Done, ChaosError> {
    drop(State::open(&StateDir::new(root), "chaos")?);
    let filler = root.join("filler");
    let mut bytes = vec![7u8; 16 << 20];
    // Writes as much as there is room for, and fails.
    while std::fs::write(&filler, &bytes).is_err() && bytes.len() > 4_096 {
        let written = std::fs::metadata(&filler).map_or(0, |file| file.len() as usize);
        bytes.truncate(written.min(bytes.len() - 4_096));
    }
    let orchestrator = ground.start(&["env"])?;
    let Some(wanted) = ground.wanted_room() else {
        let (code, words) = ground.wait(orchestrator)?;
        return Err(ground.broken(format!("on a full disk no run waits for room: {words} ({code:?})")));
    };
    if wanted.free_bytes >= wanted.needed_bytes {
        return Err(ground.broken(format!("the run waits for what there is: {}", wanted.line())));
    }
    std::fs::remove_file(&filler).map_err(ChaosError::io(&filler))?;
    let (code, words) = ground.wait(orchestrator)?;
    if code != Some(0) {
        return Err(ground.broken(format!("with room again the orchestrator ended: {words} ({code:?})")));
    }
    ground.judge()?;
    Ok(Done::Stood)
}
