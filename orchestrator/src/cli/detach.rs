//! `cupola apply --detach`: the same command in a session of its own.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cupola_specs::contract::ErrorClass;

use super::select::projection;
use super::{CliError, Global, Outcome};
use crate::state::{StateError, holder};

/// How long the other process may take until its run is recorded.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts this command once more with its output in a file, and returns when its run is recorded: whoever asks then is told of it.
pub(super) fn detach(global: &Global) -> Result<Outcome, CliError> {
    let dir = global.state_dir();
    if let Some(holder) = holder(&dir) {
        let path = dir.root().to_path_buf();
        return Err(StateError::Locked { path, pid: holder.pid, host: holder.host }.into());
    }
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| CliError::Io { path, source }
    };
    let newest = || projection(global).ok().and_then(|p| p.runs().last().map(|run| run.id.clone()));
    let before = newest();
    std::fs::create_dir_all(dir.root()).map_err(io(dir.root()))?;
    let log = dir.root().join("apply.log");
    let output = File::create(&log).map_err(io(&log))?;
    let errors = output.try_clone().map_err(io(&log))?;
    let program = std::env::current_exe().map_err(io(Path::new("/proc/self/exe")))?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1).filter(|argument| argument != "--detach"))
        .arg("--background")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(io(&log))?;
    let broke = |message: String| CliError::Other {
        message,
        hint: format!("its output is in {}", log.display()),
        class: ErrorClass::Transient,
    };
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        let ended = child.try_wait().map_err(io(&log))?;
        let run = newest().filter(|run| before.as_ref() != Some(run));
        match (run, ended) {
            (Some(run), None) => {
                say(&run, child.id(), &log, global);
                return Ok(Outcome::Done);
            }
            (_, Some(status)) => {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                if !status.success() {
                    return Err(broke(format!("the run ended at once: {}", said.trim_end())));
                }
                print!("{said}");
                return Ok(Outcome::Done);
            }
            (None, None) => sleep(Duration::from_millis(10)),
        }
    }
    Err(broke(format!("process {} recorded no run within {} s", child.id(), PATIENCE.as_secs())))
}

fn say(run: &str, pid: u32, log: &Path, global: &Global) {
    if global.json {
        println!("{:#}", serde_json::json!({ "run": run, "pid": pid, "log": log }));
    } else {
        let log = log.display();
        println!("run {run} as process {pid}; follow it with `cupola watch`, its output is in {log}");
    }
}
