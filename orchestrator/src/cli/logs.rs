//! `cupola logs`.

use std::time::Duration;

use clap::Args;
use cupola_specs::contract::{Event, EventBody};

use super::select::{RunArgs, find_run, find_steps, projection};
use super::{CliError, Global, Outcome};
use crate::state::{AttemptView, EventTail, RunView, StepView, events_file};
use crate::watch::event_line;

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
    println!("{}", event_line(event));
}
