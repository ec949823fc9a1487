//! The ground of a drill: its folder, its orchestrators, and the judge of what came of them.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cupola_specs::contract::Started;
use rustix::process::{Pid, Signal, kill_process_group};

use super::worker::{OUTPUT_FILE, line_of};
use super::{ChaosError, drill_plan};
use crate::plan::{Input, Plan};
use crate::state::WantedRoom;
use crate::state::{AttemptView, Fact, RunState, StateDir, read_journal, read_state};
use crate::store::Store;

/// The longest that one orchestrator may take without being disturbed.
const PATIENCE: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(10);

/// One state folder of a drill.
pub(super) struct Ground {
    /// What is being done.
    pub(super) fault: String,
    /// The state folder.
    pub(super) dir: StateDir,
    pub(super) plan: Plan,
}

/// Ends an orchestrator that nobody waited for.
pub(super) struct Orchestrator(pub(super) Child);

impl Drop for Orchestrator {
    fn drop(&mut self) {
        // With the program that it may run under; shims lead sessions of their own.
        if let Some(pid) = Pid::from_raw(self.0.id().cast_signed()) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

impl Ground {
    pub(super) fn new(root: &Path, fault: &str) -> Result<Self, ChaosError> {
        let name: String = fault.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        Ok(Self {
            fault: fault.to_owned(),
            dir: StateDir::new(&root.join(name)),
            plan: drill_plan(Path::new("drill.yaml"))?,
        })
    }

    /// The same drill in another folder.
    pub(super) fn in_folder(&self, folder: &Path) -> Result<Self, ChaosError> {
        let plan = drill_plan(Path::new("drill.yaml"))?;
        Ok(Self { fault: self.fault.clone(), dir: StateDir::new(folder), plan })
    }

    pub(super) fn broken(&self, problem: impl Into<String>) -> ChaosError {
        let folder = self.dir.root().to_path_buf();
        ChaosError::Broken { fault: self.fault.clone(), problem: problem.into(), folder }
    }

    /// Starts an orchestrator on the folder, under the program and the environment of `prefix`.
    pub(super) fn start(&self, prefix: &[&str]) -> Result<Orchestrator, ChaosError> {
        let own = std::env::current_exe().map_err(ChaosError::io(Path::new("/proc/self/exe")))?;
        let mut words: Vec<std::ffi::OsString> = prefix.iter().map(Into::into).collect();
        words.extend([own.into_os_string(), "chaos".into(), "--drive".into(), self.dir.root().into()]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("CUPOLA_SILENCE_SECS", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        command.spawn().map(Orchestrator).map_err(ChaosError::io(Path::new(&words[0])))
    }

    /// Waits until an orchestrator has ended, and gives its exit code and its last words.
    pub(super) fn wait(&self, mut orchestrator: Orchestrator) -> Result<(Option<i32>, String), ChaosError> {
        let since = Instant::now();
        loop {
            let ended = orchestrator.0.try_wait().map_err(ChaosError::io(self.dir.root()))?;
            if let Some(status) = ended {
                let mut words = String::new();
                if let Some(mut stderr) = orchestrator.0.stderr.take() {
                    // Words that can't be read are none.
                    let _ = std::io::Read::read_to_string(&mut stderr, &mut words);
                }
                return Ok((status.code(), words.trim().to_owned()));
            }
            if since.elapsed() > PATIENCE {
                return Err(self.broken(format!("an orchestrator did not end in {} s", PATIENCE.as_secs())));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// One more orchestrator, undisturbed: it must bring the drill to its end.
    pub(super) fn finish(&self) -> Result<(), ChaosError> {
        let (code, words) = self.wait(self.start(&["env"])?)?;
        if code == Some(0) {
            Ok(())
        } else {
            Err(self.broken(format!("the next orchestrator ended: {words}")))
        }
    }

    /// Waits until the newest attempt of a step has a worker; none where that does not happen.
    pub(super) fn worker_of(&self, step: &str) -> Option<(AttemptView, Started)> {
        let fingerprint = self.plan.step(step)?.fingerprint.clone();
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(20) {
            let attempt =
                read_state(&self.dir).ok().and_then(|state| state.attempts(&fingerprint).last().cloned());
            if let Some(attempt) = attempt.filter(|attempt| attempt.ended_millis.is_none())
                && let Ok(bytes) = std::fs::read(attempt.dir.join("started.json"))
                && let Ok(started) = serde_json::from_slice(&bytes)
            {
                return Some((attempt, started));
            }
            std::thread::sleep(LOOK);
        }
        None
    }

    /// Waits until the run waits for room on the disk; none where that does not happen.
    pub(super) fn wanted_room(&self) -> Option<WantedRoom> {
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(20) {
            let state = read_state(&self.dir).ok();
            let wanted = state.as_ref().and_then(|state| WantedRoom::of(state, state.latest_run(None)?));
            if wanted.is_some() {
                return wanted;
            }
            std::thread::sleep(LOOK);
        }
        None
    }

    /// How many attempts a step had.
    pub(super) fn num_attempts(&self, step: &str) -> Result<usize, ChaosError> {
        let fingerprint = self.plan.step(step).map(|step| step.fingerprint.clone()).unwrap_or_default();
        Ok(read_state(&self.dir)?.attempts(&fingerprint).len())
    }

    /// The judge: the run succeeded, each step was committed once, and every output is that of a run that nobody disturbed.
    pub(super) fn judge(&self) -> Result<(), ChaosError> {
        let state = read_state(&self.dir)?;
        let run = state.latest_run(None).ok_or_else(|| self.broken("there is no run"))?;
        if run.state != RunState::Succeeded || state.runs().len() != 1 {
            return Err(self.broken(format!("run {} is {}", run.id, run.state.as_str())));
        }
        let mut commits: BTreeMap<String, u32> = BTreeMap::new();
        for record in read_journal(&self.dir.journal())?.records {
            if let Fact::ArtifactCommitted(artifact) = record.fact {
                *commits.entry(artifact.fingerprint).or_default() += 1;
            }
        }
        let store = Store::new(&self.dir);
        let mut outputs: BTreeMap<&str, String> = BTreeMap::new();
        for planned in &self.plan.steps {
            let name = planned.step.name.as_str();
            match commits.get(&planned.fingerprint) {
                Some(1) => {}
                count => {
                    return Err(self.broken(format!("{name} was committed {} times", count.unwrap_or(&0))));
                }
            }
            let mut hasher = blake3::Hasher::new();
            for input in planned.step.inputs.values() {
                if let Input::Step(input) = input {
                    hasher.update(outputs.get(input.as_str()).map_or(&[][..], |text| text.as_bytes()));
                }
            }
            let golden = line_of(name, &hasher);
            let path: PathBuf = store.path("law", &planned.fingerprint).join(OUTPUT_FILE);
            let output = std::fs::read_to_string(&path).map_err(ChaosError::io(&path))?;
            if output != golden {
                return Err(self.broken(format!(
                    "{name} wrote `{}`, expected `{}`",
                    output.trim(),
                    golden.trim()
                )));
            }
            outputs.insert(name, golden);
        }
        Ok(())
    }
}
