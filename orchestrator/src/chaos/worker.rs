//! The worker of a drill: a process that speaks the contract and does nothing else.
//!
//! What it does is in the step's name. A name with `flaky` fails its first attempt; one with `slow` takes a while, a beat of 0.1 s at a
//! time, with a checkpoint at each beat; every other one ends at once. Its output is one line: the step's name and a hash over the
//! outputs of its inputs, so that the last output of a graph proves all the others.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, Result, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// The file that a drill step writes.
pub(super) const OUTPUT_FILE: &str = "out";
/// Beats of a slow step.
const BEATS: u64 = 30;
const BEAT: Duration = Duration::from_millis(100);

/// What a drill reads of its job file.
#[derive(Debug, Deserialize)]
struct Job {
    step: String,
    token: String,
    inputs: BTreeMap<String, Input>,
    staging: PathBuf,
    checkpoints: PathBuf,
    events: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Input {
    path: PathBuf,
}

/// Runs the step of a job file; false where it failed as it was meant to.
pub fn run_drill_step(path: &Path) -> Result<bool> {
    let job: Job = serde_json::from_slice(&std::fs::read(path)?).map_err(Error::other)?;
    let mut events = File::options().create(true).append(true).open(&job.events)?;
    let pid = std::process::id();
    let mut say = |body: String| {
        let line = format!("{{\"at_millis\":{},\"event\":{body}}}\n", crate::state::now_millis());
        events.write_all(line.as_bytes())
    };
    say(format!("\"started\",\"token\":\"{}\",\"pid\":{pid},\"version\":\"drill\"", job.token))?;
    if job.step.contains("flaky") {
        std::fs::create_dir_all(&job.checkpoints)?;
        let tried = job.checkpoints.join("tried");
        if !tried.exists() {
            File::create(&tried)?;
            say(r#""failed","class":"transient","code":"flaky","message":"the first attempt fails","hint":"""#.to_owned())?;
            return Ok(false);
        }
    }
    if job.step.contains("slow") {
        std::fs::create_dir_all(&job.checkpoints)?;
        let file = job.checkpoints.join("beat");
        let done: u64 = std::fs::read_to_string(&file).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        for beat in done + 1..=BEATS {
            std::thread::sleep(BEAT);
            replace(&file, &beat.to_string())?;
            say(format!(r#""checkpoint","step":{beat},"data_cursor":{beat},"shards":[],"size_bytes":2"#))?;
        }
    }
    let line = output_line(&job.step, job.inputs.values().map(|input| input.path.join(OUTPUT_FILE)))?;
    std::fs::write(job.staging.join(OUTPUT_FILE), line)?;
    say(r#""finished","summary":{}"#.to_owned())?;
    Ok(true)
}

fn replace(path: &Path, text: &str) -> Result<()> {
    let draft = path.with_extension("draft");
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, path)
}

/// The output of a step whose inputs' outputs lie in these files.
fn output_line(step: &str, inputs: impl Iterator<Item = PathBuf>) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for input in inputs {
        hasher.update(&std::fs::read(input)?);
    }
    Ok(line_of(step, &hasher))
}

pub(super) fn line_of(step: &str, inputs: &blake3::Hasher) -> String {
    format!("{step} {}\n", inputs.finalize().to_hex())
}
