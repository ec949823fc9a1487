//! A run: its spec as it was resolved, how it stands, its report card, and the attempts of the steps that did not end well.

use std::path::Path;

use cupola_specs::contract::EventBody;

use super::{Bundle, BundleError};
use crate::state::{AttemptView, EventTail, RunView, StateDir, StepView, events_file};

/// Newest attempts of a step that come along, and steps.
const MAX_ATTEMPTS: usize = 3;
const MAX_STEPS: usize = 40;
/// Steps that `run.json` holds whatever their state.
const MAX_STEPS_OF_RUN: usize = 2_000;
const EVENTS_BYTES: usize = 1 << 20;
/// Bytes of events that are read: samples are long, and shrink.
const EVENTS_WINDOW: u64 = 8 << 20;
const STDERR_BYTES: usize = 256 << 10;
const SMALL_BYTES: usize = 128 << 10;
const SPEC_BYTES: usize = 4 << 20;

/// Adds everything about a run that is not data.
pub fn add_run(bundle: &mut Bundle, dir: &StateDir, run: &RunView) -> Result<(), BundleError> {
    let folder = dir.run(&run.id);
    bundle.add_end_of("spec.json", &folder.join("spec.json"), SPEC_BYTES)?;
    add_view(bundle, run)?;
    add_report(bundle, &folder)?;
    for name in
        ["weights, checkpoints, corpora and other files of artifacts", "sources.jsonl of the attempts"]
    {
        bundle.leave_out(name, "a bug report holds no model and no data, and no names of data files");
    }
    let troubled: Vec<&StepView> = run.steps.iter().filter(|step| is_troubled(step)).collect();
    for step in troubled.iter().take(MAX_STEPS) {
        for attempt in step.attempts.iter().rev().take(MAX_ATTEMPTS).rev() {
            add_attempt(bundle, dir, attempt)?;
        }
        if step.attempts.len() > MAX_ATTEMPTS {
            let older = step.attempts.len() - MAX_ATTEMPTS;
            bundle.leave_out(&step.name, &format!("{older} older attempts"));
        }
    }
    for step in troubled.iter().skip(MAX_STEPS) {
        bundle.leave_out(&step.name, &format!("attempts of {MAX_STEPS} steps are inside already"));
    }
    Ok(())
}

/// Whether a step's attempts may say what went wrong: one failed, was lost, or is not over.
fn is_troubled(step: &StepView) -> bool {
    !step.cached && step.attempts.iter().any(|attempt| attempt.outcome != "succeeded")
}

/// `run.json`: the run as every command sees it, without what models wrote.
fn add_view(bundle: &mut Bundle, run: &RunView) -> Result<(), BundleError> {
    let mut run = run.clone();
    run.steps.iter_mut().for_each(|step| step.samples.clear());
    if run.steps.len() > MAX_STEPS_OF_RUN {
        let whole = run.steps.len();
        run.steps.retain(|step| !step.state.is_done());
        run.steps.truncate(MAX_STEPS_OF_RUN);
        let why = format!("{} of {whole} steps are inside: those that are not done", run.steps.len());
        bundle.leave_out("steps in run.json", &why);
    }
    bundle.leave_out("samples in run.json and in the events", "they are data");
    bundle.add_json("run.json", &run)
}

/// `report.md` without the texts of its samples; the page repeats it and is left out.
fn add_report(bundle: &mut Bundle, folder: &Path) -> Result<(), BundleError> {
    let path = folder.join("report.md");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            bundle.add_text("report.md", &without_samples(&text));
            bundle.leave_out("report.html", "report.md says the same, without pictures");
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bundle.leave_out("report.md", "it was not written yet");
        }
        Err(source) => return Err(BundleError::Io { path, source }),
    }
    Ok(())
}

/// A report card without its section of samples. A line of a sample that looks like a heading stands inside a fence.
fn without_samples(report: &str) -> String {
    let mut kept = String::with_capacity(report.len());
    let (mut fence, mut is_skipped) = (None::<String>, false);
    for line in report.lines() {
        match &fence {
            Some(open) if line == open => fence = None,
            None if line.starts_with("```") => {
                fence = Some(line.chars().take_while(|c| *c == '`').collect());
            }
            None if line.starts_with("## ") => is_skipped = line == "## Samples",
            Some(_) | None => {}
        }
        if !is_skipped {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// An attempt's job, words and end, under its own folder's name.
fn add_attempt(bundle: &mut Bundle, dir: &StateDir, attempt: &AttemptView) -> Result<(), BundleError> {
    let name = dir.below(&attempt.dir).to_string_lossy().into_owned();
    add_events(bundle, &format!("{name}/events.jsonl"), attempt)?;
    bundle.add_end_of(&format!("{name}/stderr.log"), &attempt.dir.join("stderr.log"), STDERR_BYTES)?;
    for file in ["job.json", "started.json", "result.json"] {
        bundle.add_end_of(&format!("{name}/{file}"), &attempt.dir.join(file), SMALL_BYTES)?;
    }
    Ok(())
}

/// The events without the texts of samples.
fn add_events(bundle: &mut Bundle, name: &str, attempt: &AttemptView) -> Result<(), BundleError> {
    let path = events_file(&attempt.dir);
    // A line that the beginning cuts through is no event, and left out with those before it.
    let from = std::fs::metadata(&path).map_or(0, |data| data.len()).saturating_sub(EVENTS_WINDOW);
    if from > 0 {
        bundle.leave_out(name, &format!("its first {from} bytes"));
    }
    let events = match EventTail::new(path, from).read() {
        Ok(events) => events,
        Err(error) => {
            bundle.leave_out(name, &error.to_string());
            return Ok(());
        }
    };
    let mut lines = String::new();
    for mut event in events {
        if let EventBody::Sample { prompt, text, .. } = &mut event.body {
            *prompt = format!("[{} characters]", prompt.chars().count());
            *text = format!("[{} characters]", text.chars().count());
        }
        lines.push_str(&serde_json::to_string(&event)?);
        lines.push('\n');
    }
    bundle.add_end(name, &lines, EVENTS_BYTES);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_of_a_report_go_and_the_rest_stays() {
        let report = "# R\n\n## Samples\n\n### a\n\n````text\nprivate\n```\n## Results\n````\n\n- **m**: private\n\n## Steps\n\nkept\n";
        assert_eq!(without_samples(report), "# R\n\n## Steps\n\nkept\n");
    }
}
