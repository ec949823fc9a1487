//! What `cancel`, `pause`, `resume` and `retry` share: asking the process that drives a run, or acting where nobody does.

use std::time::{Duration, Instant};

use clap::Args;

use super::apply::{ApplyArgs, run as apply};
use super::invocation::Invocation;
use super::select::{RunArgs, find_run, find_steps, projection};
use super::{CliError, Global, Outcome};
use crate::executor::LocalExecutor;
use crate::run::{ControlRequest, ControlVerb, SystemClock, cancel_idle, leave_request};
use crate::state::{Act, Fact, State, holder};

const PATIENCE: Duration = Duration::from_secs(10);

/// Which run, and what of it.
#[derive(Debug, Clone, Args)]
pub struct ControlArgs {
    /// One job or step; the whole run where it is left out.
    pub job: Option<String>,
    /// Which run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Asks the process that drives the run, or acts where nobody does.
pub(super) fn ask(verb: ControlVerb, args: &ControlArgs, global: &Global) -> Result<Outcome, CliError> {
    let dir = global.state_dir();
    let run = find_run(&projection(global)?, args.run.run.as_deref())?;
    if let Some(job) = &args.job {
        find_steps(&run, job)?;
    }
    let Some(driver) = holder(&dir) else { return act_alone(verb, args, global) };
    let request = ControlRequest::new(verb, Some(run.id.clone()), args.job.clone(), global.act());
    let file = leave_request(&dir, &request)?;
    let since = Instant::now();
    while file.exists() {
        // It let go without taking the request: nobody must find it later.
        if holder(&dir).is_none() && std::fs::remove_file(&file).is_ok() {
            return act_alone(verb, args, global);
        }
        if since.elapsed() > PATIENCE {
            let _ = std::fs::remove_file(&file);
            let message =
                format!("process {} on {} ({}) does not answer", driver.pid, driver.host, driver.command);
            return Err(CliError::input(message, "it may drive no run now; see `cupola status`"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    say(global, verb, &run.id, &format!("asked process {} on {}", driver.pid, driver.host));
    Ok(Outcome::Done)
}

fn act_alone(verb: ControlVerb, args: &ControlArgs, global: &Global) -> Result<Outcome, CliError> {
    let projection = projection(global)?;
    let run = find_run(&projection, args.run.run.as_deref())?;
    match verb {
        ControlVerb::Resume | ControlVerb::Retry => {
            let (spec, select) = Invocation::of(&projection, &run).arguments();
            if !run.spec_path.exists() {
                let message =
                    format!("run {} was of {}, which is no longer there", run.id, run.spec_path.display());
                return Err(CliError::input(message, "give its command again; what was done is cached"));
            }
            let again = ApplyArgs {
                spec,
                select,
                on: "local".to_owned(),
                detach: false,
                background: false,
                is_recorded: false,
            };
            apply(&again, global)
        }
        ControlVerb::Cancel => {
            if run.state.is_final() {
                return Err(CliError::input(format!("run {} has ended: {}", run.id, run.state.as_str()), ""));
            }
            let mut state = State::open(&global.state_dir(), "cancel")?;
            let act = Act { run: Some(run.id.clone()), ..global.act() };
            state.record(vec![Fact::Acted(Box::new(act))])?;
            let mut executor = LocalExecutor::of_nothing_new()?;
            cancel_idle(&mut state, &run.id, &mut executor, &mut SystemClock::default())?;
            say(global, verb, &run.id, "cancelled");
            Ok(Outcome::Done)
        }
        ControlVerb::Pause | ControlVerb::Promotion => {
            let message = format!("nobody drives run {} now, so there is nothing to pause", run.id);
            Err(CliError::input(message, "`cupola resume` goes on with it"))
        }
    }
}

fn say(global: &Global, verb: ControlVerb, run: &str, what: &str) {
    if global.json {
        println!("{}", serde_json::json!({ "verb": verb, "run": run, "done": what }));
    } else {
        println!("{} {run}: {what}", verb.as_str());
    }
}
