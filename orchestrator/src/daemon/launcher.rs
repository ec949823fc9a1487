//! Starting `cupola` processes, behind a trait so that tests see what would have been started.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A started process.
pub type Ticket = u64;

/// Starts processes and says when they ended.
pub trait Launcher: Send {
    /// Starts `cupola` with these arguments and its output in `log`.
    fn start(&mut self, arguments: &[String], log: &Path) -> std::io::Result<Ticket>;
    /// The exit code of a process that ended; -1 where a signal ended it.
    fn ended(&mut self, ticket: Ticket) -> std::io::Result<Option<i32>>;
    /// Asks a process to checkpoint and stop.
    fn stop(&mut self, ticket: Ticket);
}

/// Starts processes of this program, each in a group of its own: Ctrl-C at the daemon does not reach them.
#[derive(Debug)]
pub struct ProcessLauncher {
    program: PathBuf,
    children: BTreeMap<Ticket, Child>,
    next: Ticket,
}

impl ProcessLauncher {
    /// A launcher of this program.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { program: std::env::current_exe()?, children: BTreeMap::new(), next: 1 })
    }
}

impl Launcher for ProcessLauncher {
    fn start(&mut self, arguments: &[String], log: &Path) -> std::io::Result<Ticket> {
        let output = File::options().create(true).append(true).open(log)?;
        let errors = output.try_clone()?;
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        let ticket = self.next;
        self.children.insert(ticket, command.spawn()?);
        self.next += 1;
        Ok(ticket)
    }

    fn ended(&mut self, ticket: Ticket) -> std::io::Result<Option<i32>> {
        let Some(child) = self.children.get_mut(&ticket) else { return Ok(Some(-1)) };
        let Some(status) = child.try_wait()? else { return Ok(None) };
        self.children.remove(&ticket);
        Ok(Some(status.code().unwrap_or(-1)))
    }

    fn stop(&mut self, ticket: Ticket) {
        let pid = self.children.get(&ticket).and_then(|child| Pid::from_raw(child.id() as i32));
        if let Some(pid) = pid {
            // It may have ended just now.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}
