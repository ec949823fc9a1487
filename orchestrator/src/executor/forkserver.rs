//! The fork server: one small process that forks a shim for each attempt, because a fork costs a fraction of what starting a program does.
//!
//! It and its executor speak over a socket, one line of JSON each way: a [`ShimOrder`], then the shim's process id or why there is none.
//! It holds nothing: its shims go on without it, and one that died is replaced at the next order. An order that was sent and never
//! answered is sent again; the attempt's claim lets only one of two shims through.

use std::io::{BufRead, BufReader, Error, ErrorKind, Result, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fork::Fork;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use serde::{Deserialize, Serialize};

use super::shim::{ShimOrder, out_of_memory_kills, run_shim};
use crate::state::boot_id;

/// While shims live the server looks once in this many seconds for those that ended.
const REAP_SECS: i64 = 1;

/// The kernel takes long to count its kills for want of memory: for one shim it may be this old.
const KILLS_AGE: Duration = Duration::from_secs(1);

/// Kills for want of memory up to a moment.
struct KillCount {
    count: u64,
    read_at: Instant,
}

impl KillCount {
    fn read() -> Self {
        Self { count: out_of_memory_kills(), read_at: Instant::now() }
    }
}

/// What the server answers to an order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Shim(u32),
    Failed(String),
}

/// The executor's end.
#[derive(Debug)]
pub(super) struct ForkServer {
    program: PathBuf,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    stream: Option<BufReader<UnixStream>>,
}

impl ForkServer {
    /// The server of this program, which starts with the first order.
    pub(super) fn new(program: PathBuf) -> Self {
        Self { program, running: None }
    }

    /// The program of the server.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Forks a shim; its process id.
    pub(super) fn fork(&mut self, order: &ShimOrder) -> Result<u32> {
        if let Some(running) = &mut self.running {
            match running.ask(order) {
                Err(error) if is_gone(&error) => self.running = None,
                answered => return answered,
            }
        }
        let running = self.running.insert(Running::start(&self.program)?);
        running.ask(order)
    }
}

/// Whether the other end of the socket is no more.
fn is_gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof)
}

impl Running {
    fn start(program: &Path) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(program);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own: what a terminal sends to ours is ours to handle.
        let child = command.process_group(0).spawn()?;
        Ok(Self { child, stream: Some(BufReader::new(ours)) })
    }

    fn ask(&mut self, order: &ShimOrder) -> Result<u32> {
        let stream = self.stream.as_mut().ok_or(ErrorKind::BrokenPipe)?;
        stream.get_mut().write_all(&line_of(order)?)?;
        let mut answer = String::new();
        if stream.read_line(&mut answer)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        match serde_json::from_str(&answer)? {
            Reply::Shim(pid) => Ok(pid),
            Reply::Failed(problem) => Err(Error::other(problem)),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It ends when nobody can give it orders.
        self.stream = None;
        let _ = self.child.wait();
    }
}

fn line_of(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// The server's end: forks a shim for each order on standard input, until nobody can send one. In a shim it returns when the shim is done.
///
/// Call it in a process with one thread only: a shim is a copy of the calling thread.
pub fn serve_forks() -> Result<()> {
    // Read once for all shims.
    let _ = boot_id();
    let stdin = std::io::stdin();
    let mut pending = Vec::new();
    let mut live = 0u32;
    let mut kills = KillCount::read();
    loop {
        live = live.saturating_sub(reap());
        let second = Timespec { tv_sec: REAP_SECS, tv_nsec: 0 };
        if poll(&mut [PollFd::new(&stdin, PollFlags::IN)], (live > 0).then_some(&second))? == 0 {
            continue;
        }
        let mut chunk = [0; 4_096];
        let length = rustix::io::read(stdin.as_fd(), &mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        pending.extend_from_slice(&chunk[..length]);
        if kills.read_at.elapsed() >= KILLS_AGE {
            kills = KillCount::read();
        }
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let order: ShimOrder = serde_json::from_slice(&line)?;
            let reply = match fork::fork() {
                Ok(Fork::Child) => return run_forked(&order, kills.count),
                Ok(Fork::Parent(shim)) => {
                    live += 1;
                    Reply::Shim(shim.cast_unsigned())
                }
                Err(error) => Reply::Failed(error.to_string()),
            };
            let mut answer = &line_of(&reply)?[..];
            while !answer.is_empty() {
                answer = &answer[rustix::io::write(stdin.as_fd(), answer)?..];
            }
        }
    }
}

/// Collects the shims that ended; how many.
fn reap() -> u32 {
    let mut count = 0;
    while matches!(fork::wait_any_nohang(), Ok(Some(_))) {
        count += 1;
    }
    count
}

/// The life of a shim.
fn run_forked(order: &ShimOrder, kills_before: u64) -> Result<()> {
    // The socket is the server's alone: a shim must not hold it open.
    fork::redirect_stdio()?;
    run_shim(order, kills_before).map_err(Error::other)
}
