//! Starting `cupola` processes, behind a trait so that tests see what would have been started.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A started process.
pub type Ticket = u64;

/// What a process is started in.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// Its working folder; the daemon's where none is given.
    pub folder: Option<&'a Path>,
    /// What differs from the daemon's environment; without a value, a variable is not set.
    pub environment: &'a BTreeMap<String, Option<String>>,
    /// Where its output goes.
    pub output: &'a Path,
    /// Where its errors go.
    pub errors: &'a Path,
}

impl Surroundings<'_> {
    fn command(&self, program: &Path) -> std::io::Result<Command> {
        let open = |path: &Path| File::options().create(true).append(true).open(path);
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(open(self.output)?).stderr(open(self.errors)?).process_group(0);
        if let Some(folder) = self.folder {
            command.current_dir(folder);
        }
        for (name, value) in self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Ok(command)
    }
}

/// Starts processes and says when they ended.
pub trait Launcher: Send {
    /// Starts `cupola` with these arguments.
    fn start(&mut self, arguments: &[String], around: &Surroundings<'_>) -> std::io::Result<Ticket>;
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
    fn start(&mut self, arguments: &[String], around: &Surroundings<'_>) -> std::io::Result<Ticket> {
        let mut command = around.command(&self.program)?;
        command.args(arguments);
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
