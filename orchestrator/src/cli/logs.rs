//! `cupola logs`.

use std::time::Duration;

use clap::Args;
use cupola_specs::contract::{Event, EventBody};

use super::select::{RunArgs, find_run, find_steps, projection};
use super::{CliError, Global, Outcome};
use crate::report::format;
use crate::state::{AttemptView, EventTail, RunView, StepView, events_file};

const POLL: Duration = Duration::from_millis(200);

/// Arguments of `cupola logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The job or step.
    pub job: String,
    /// Goes on until the step ends.
    #[arg(short, long)]
    pub follow: bool,
    /// Every attempt, not just the newest.
    #[arg(long)]
    pub all: bool,
    /// What the worker wrote on standard error, instead of its events.
    #[arg(long)]
    pub stderr: bool,
    /// Which run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Prints what a step's worker says.
pub(super) fn run(args: &LogsArgs, global: &Global) -> Result<Outcome, CliError> {
    let run = find_run(&projection(global)?, args.run.run.as_deref())?;
    let steps = find_steps(&run, &args.job)?;
    let many = steps.len() > 1;
    for step in &steps {
        let skip = if args.all { 0 } else { step.attempts.len().saturating_sub(1) };
        for attempt in step.attempts.iter().skip(skip) {
            if (many || args.all) && !global.json {
                println!("== {} attempt {} ==", step.name, attempt.number);
            }
            print_attempt(attempt, args, global)?;
        }
        if step.attempts.is_empty() && !global.json {
            println!("== {}: no attempt yet ({}) ==", step.name, step.state.as_str());
        }
    }
    if args.follow {
        follow(args, global, &run, &steps)?;
    }
    Ok(Outcome::Done)
}

fn print_attempt(attempt: &AttemptView, args: &LogsArgs, global: &Global) -> Result<(), CliError> {
    let stderr = || std::fs::read_to_string(attempt.dir.join("stderr.log")).unwrap_or_default();
    if args.stderr {
        print!("{}", stderr());
        return Ok(());
    }
    let events = EventTail::new(events_file(&attempt.dir), 0).read()?;
    for event in &events {
        print_event(event, global.json);
    }
    // A worker that died without a word may have said why on standard error.
    let said_its_end =
        events.iter().any(|e| matches!(e.body, EventBody::Finished { .. } | EventBody::Failed(_)));
    if !said_its_end && !attempt.outcome.is_empty() && !global.json {
        print!("{}", stderr());
    }
    Ok(())
}

fn follow(args: &LogsArgs, global: &Global, run: &RunView, steps: &[&StepView]) -> Result<(), CliError> {
    let mut tails: Vec<(std::path::PathBuf, EventTail)> = Vec::new();
    for attempt in steps.iter().flat_map(|step| step.attempts.iter()) {
        let mut tail = EventTail::new(events_file(&attempt.dir), 0);
        tail.read()?;
        tails.push((attempt.dir.clone(), tail));
    }
    loop {
        let now = find_run(&projection(global)?, Some(&run.id))?;
        let steps = find_steps(&now, &args.job)?;
        for attempt in steps.iter().flat_map(|step| step.attempts.iter()) {
            if !tails.iter().any(|(dir, _)| *dir == attempt.dir) {
                tails.push((attempt.dir.clone(), EventTail::new(events_file(&attempt.dir), 0)));
            }
        }
        for (_, tail) in &mut tails {
            for event in tail.read()? {
                print_event(&event, global.json);
            }
        }
        if now.state.is_final() || steps.iter().all(|step| step.state.is_final()) {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
}

fn print_event(event: &Event, json: bool) {
    if json {
        println!("{}", serde_json::json!(event));
        return;
    }
    let time = jiff::Timestamp::from_millisecond(event.at_millis)
        .map(|at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string())
        .unwrap_or_default();
    println!("{time} {}", text_of(&event.body));
}

fn text_of(body: &EventBody) -> String {
    match body {
        EventBody::Started { pid, version, .. } => format!("started: process {pid}, version {version}"),
        EventBody::Progress { done, total, unit, stage } => {
            format!("{stage}: {} of {} {unit}", format::short(*done), format::short(*total))
        }
        EventBody::Metric { name, step, value } => format!("{name} {value:.5} at step {step}"),
        EventBody::Log { message } => message.clone(),
        EventBody::Checkpoint(record) => {
            format!("checkpoint at step {} ({})", record.step, format::bytes(record.size_bytes))
        }
        EventBody::Sample { step, prompt, text } => format!("sample at step {step}: {prompt:?} → {text:?}"),
        EventBody::Warning { code, message } => format!("warning: {message} ({code})"),
        EventBody::Finished { .. } => "finished".to_owned(),
        EventBody::Failed(failure) => format!("failed: {} ({})", failure.message, failure.code),
    }
}
