//! `cupola apply`.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use cupola_specs::spec::{ArtifactRef, ResolvedSpec};

use super::detach::detach;
use super::invocation::Invocation;
use super::load::{Prepared, SelectArgs, SpecArgs, decide_now, prepare};
use super::order::{daemon, order};
use super::select::{find_run, projection};
use super::tables::step_table;
use super::{CliError, Global, Outcome};
use crate::daemon::OrderFiles;
use crate::executor::LocalExecutor;
use crate::plan::{PlanCounts, result_step};
use crate::promote::{Decision, Rules, decision_line};
use crate::report::{ReportOptions, write_run_report};
use crate::run::{
    Applied, Console, DriveEnd, Signals, SystemClock, World, apply, is_users_fault, save_spec, take_requests,
};
use crate::state::{Fact, Projection, RunState, RunView, State, StateError, now_millis};
use crate::store::{Committer, Store};
use crate::watch::{Display, DisplayMode};

/// How often the process of an order tries to take the lock.
const ORDER_PAUSE: Duration = Duration::from_millis(100);

/// Arguments of `cupola apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Which spec.
    #[command(flatten)]
    pub spec: SpecArgs,
    /// Which jobs.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Where steps run.
    #[arg(long, value_name = "EXECUTOR", default_value = "local", value_parser = ["local"])]
    pub on: String,
    /// Gives the terminal back once the run is there; it goes on.
    #[arg(long)]
    pub detach: bool,
    /// Set by `--detach` on the process that goes on.
    #[arg(long, hide = true)]
    pub background: bool,
    /// Whether who asked for it is in the audit log already.
    #[arg(skip)]
    pub is_recorded: bool,
}

/// Runs what a spec asks for and is not there yet.
pub(super) fn run(args: &ApplyArgs, global: &Global) -> Result<Outcome, CliError> {
    if args.background {
        // Fails only where this process leads a session already.
        let _ = rustix::process::setsid();
    }
    // The process ends after this, and very many steps take long to free one by one.
    let prepared = ManuallyDrop::new(prepare(global, &args.spec, &args.select)?);
    if let Some(done) = &prepared.done
        && prepared.is_settled
        && report_of(done, global).exists()
    {
        return nothing_to_do(&prepared, done, global);
    }
    prepared.check_memory()?;
    let daemon = daemon(args, global)?;
    if args.detach && daemon.is_none() {
        return detach(global);
    }
    // Who placed the order has said them.
    for warning in prepared.estimate.warnings.iter().filter(|_| !global.json && global.order.is_empty()) {
        eprintln!("warning: {warning}");
    }
    if let Some(daemon) = daemon {
        return order(&daemon, args, &prepared, global);
    }
    let invocation = Invocation::new(&args.spec, &args.select);
    let done = carry_out(&prepared, Some((&invocation, args.is_recorded)), global)?;
    finish(&prepared.spec, &done, global)
}

/// A plan that was applied.
pub(super) struct CarriedOut {
    /// Its run.
    pub(super) applied: Applied,
    /// What was decided about the model that the spec serves; none where there was nothing to decide.
    pub(super) decision: Option<Decision>,
}

/// Applies a prepared plan under the lock. An invocation comes with whether who asked for it is recorded already.
pub(super) fn carry_out(
    prepared: &Prepared,
    invocation: Option<(&Invocation, bool)>,
    global: &Global,
) -> Result<CarriedOut, CliError> {
    let dir = global.state_dir();
    let mut state = open_for(global)?;
    // Decided again under the lock: what was read before it may have changed.
    let decisions = decide_now(&prepared.plan, &prepared.spec, state.projection(), global)?;
    state.record(first_facts(prepared, invocation, state.projection(), global)?)?;
    let signals = Signals::listen();
    let counts = PlanCounts::of(&decisions);
    let slots = prepared.slots();
    let executor = if counts.cached == decisions.len() {
        LocalExecutor::of_nothing_new()?
    } else {
        LocalExecutor::of_this_program()?
    };
    let is_quiet = global.json || !global.order.is_empty();
    let mut display = Display::new(DisplayMode::detect(is_quiet));
    let mut begun = Begun::of(global);
    let (heard, quiet) = (signals.clone(), global.json);
    let mut said = false;
    let mut show = |run: &RunView, now: i64| {
        begun.note(&run.id);
        if heard.count() > 0 && !said && !quiet {
            eprintln!(
                "stopping: running steps save a checkpoint first; again (^C) leaves them running on their own"
            );
            said = true;
        }
        display.update(run, now);
    };
    let artifacts = Committer::new(Store::new(&dir), &executor.waker())?;
    let world = World { executor, clock: SystemClock::default(), artifacts };
    let control = dir.control();
    let mut console =
        Console { signals: &signals, requests: &mut || take_requests(&control), show: &mut show };
    let applied = apply(&mut state, &prepared.plan, &decisions, world, (slots, &mut console))?;
    display.finish(&applied.run, now_millis());
    if applied.end.is_some() {
        save_spec(&state, &applied.run.id, &prepared.spec)?;
    }
    let decision = super::promotions::after_run(&mut state, &prepared.spec, &applied.run.id, global)?;
    Ok(CarriedOut { applied, decision })
}

/// Takes the lock. An order waits for its turn, as long as no other process has taken the order.
fn open_for(global: &Global) -> Result<State, CliError> {
    let dir = global.state_dir();
    let orders = OrderFiles::new(&dir);
    loop {
        match State::open(&dir, "apply") {
            Err(StateError::Locked { .. })
                if !global.order.is_empty() && orders.is_waiting(&global.order) =>
            {
                std::thread::sleep(ORDER_PAUSE);
            }
            other => return Ok(other?),
        }
    }
}

/// Says once which run an order became.
struct Begun<'a> {
    files: OrderFiles,
    order: &'a str,
    is_said: bool,
}

impl<'a> Begun<'a> {
    fn of(global: &'a Global) -> Self {
        let order = global.order.as_str();
        Self { files: OrderFiles::new(&global.state_dir()), order, is_said: order.is_empty() }
    }

    fn note(&mut self, run: &str) {
        if !self.is_said {
            // Tried again at the next look; until then the order waits, and applying it twice makes one run.
            let noted = self.files.note_run(self.order, run);
            self.is_said = noted.inspect_err(|error| tracing::warn!("{error}")).is_ok();
        }
    }
}

/// What is recorded before anything is done: who asks for it, how, and by which rules its model is served.
fn first_facts(
    prepared: &Prepared,
    invocation: Option<(&Invocation, bool)>,
    projection: &Projection,
    global: &Global,
) -> Result<Vec<Fact>, CliError> {
    let mut facts = Vec::new();
    if !invocation.is_some_and(|(_, is_recorded)| is_recorded) {
        facts.push(global.acted(""));
    }
    if let Some((invocation, _)) = invocation {
        facts.extend(invocation.fact(projection, &prepared.plan.hash())?);
    }
    if let Some(rules) = Rules::of(&prepared.spec) {
        facts.extend(rules.fact(projection)?);
    }
    Ok(facts)
}

fn report_of(run: &str, global: &Global) -> PathBuf {
    global.state_dir().run(run).join("report.html")
}

/// Says that a run has done it all. That needs no lock: it was so when the state was read.
fn nothing_to_do(prepared: &Prepared, done: &str, global: &Global) -> Result<Outcome, CliError> {
    let report = report_of(done, global);
    if global.json {
        let run = find_run(&projection(global)?, Some(done))?;
        println!("{:#}", serde_json::json!({ "run": run, "ran": false, "report": report }));
        return Ok(Outcome::Done);
    }
    println!("nothing to do: all {} steps are cached (run {done})", prepared.plan.steps.len());
    println!("report: {}", display_path(&report));
    say_chat(&prepared.spec);
    Ok(Outcome::Done)
}

/// How to talk to the model that the spec serves.
fn say_chat(spec: &ResolvedSpec) {
    if let Some(model) = spec.serve.as_ref().and_then(|serve| chat_name(spec, &serve.model)) {
        println!("chat:   cupola chat {model}    or    cupola serve {model}");
    }
}

fn finish(spec: &ResolvedSpec, done: &CarriedOut, global: &Global) -> Result<Outcome, CliError> {
    let CarriedOut { applied, decision } = done;
    let run = &applied.run;
    let decided = decision.as_ref().map(decision_line);
    let folder = global.state_dir().run(&run.id);
    let report = report_of(&run.id, global);
    let nothing_ran = applied.end.is_none();
    let mut headlines = Vec::new();
    if !(nothing_ran && report.exists()) {
        let options = ReportOptions {
            usd_per_device_hour: spec.budget.usd_per_device_hour,
            now_millis: now_millis(),
            served: decided.clone(),
        };
        let files = write_run_report(run, &options, &folder)?;
        headlines = files.headlines.iter().map(crate::report::Headline::line).collect();
    }
    if global.json {
        let served = decided.as_deref();
        println!(
            "{:#}",
            serde_json::json!({ "run": run, "ran": !nothing_ran, "report": report, "served": served })
        );
        return outcome_of(applied);
    }
    if nothing_ran {
        println!("nothing to do: all {} steps are cached (run {})", run.steps.len(), run.id);
    } else {
        println!("\n{}", step_table(run, now_millis()));
        for line in headlines {
            println!("{line}");
        }
        println!("\nrun {}: {}", run.id, run.state.as_str());
    }
    println!("report: {}", display_path(&report));
    if let Some(decided) = decided {
        println!("{decided}");
    }
    if run.state == RunState::Succeeded {
        say_chat(spec);
    } else if applied.end == Some(DriveEnd::Detached) {
        println!("workers go on; `cupola apply {}` follows them again", spec.file.display());
    }
    outcome_of(applied)
}

pub(super) fn outcome_of(applied: &Applied) -> Result<Outcome, CliError> {
    match applied.end {
        None | Some(DriveEnd::Ended(RunState::Succeeded)) => Ok(Outcome::Done),
        Some(DriveEnd::Ended(RunState::Interrupted | RunState::Cancelled) | DriveEnd::Detached) => {
            Ok(Outcome::Interrupted)
        }
        Some(DriveEnd::Ended(_)) => {
            for step in &applied.run.steps {
                if let Some(error) = &step.error {
                    eprintln!("error: {}: {} ({})", step.name, error.message, error.code);
                    if !error.hint.is_empty() {
                        eprintln!("hint: {}", error.hint);
                    }
                }
            }
            if is_users_fault(&applied.run) {
                return Err(CliError::input("a step can't work with this input", "see the errors above"));
            }
            Ok(Outcome::Failed)
        }
    }
}

fn chat_name(spec: &ResolvedSpec, model: &ArtifactRef) -> Option<String> {
    match model {
        ArtifactRef::Job(reference) => result_step(spec, reference).map(|_| reference.job.clone()),
        ArtifactRef::Path(path) => Some(path.display().to_string()),
    }
}

/// A path as people type it: below the current folder where it is.
pub(super) fn display_path(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}
