//! `cupola watch`.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use cupola_specs::contract::ErrorClass;

use super::{CliError, Global, Outcome};
use crate::plan::Machine;
use crate::run::Signals;
use crate::state::{RunRow, RunState, now_millis};
use crate::watch::{Changes, Follower, WatchError, show_page};

const POLL: Duration = Duration::from_millis(250);

/// Arguments of `cupola watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The run; the newest where none is given.
    pub run: Option<String>,
    /// Plain lines also on a terminal.
    #[arg(long)]
    pub plain: bool,
}

/// Follows a run live: as a page on a terminal, else as a line for each change. Leaving it leaves the run alone.
pub(super) fn run(args: &WatchArgs, global: &Global) -> Result<Outcome, CliError> {
    let mut follower = Follower::open(&global.state_dir(), args.run.as_deref())?;
    let Some(state) = follower.run().map(|run| run.state) else {
        return Err(missing(args.run.as_deref()));
    };
    let is_page = !args.plain && !global.json && !state.is_final() && is_terminal();
    if is_page {
        show_page(&mut follower, Machine::detect().cores)?;
    } else {
        print_changes(&mut follower, global)?;
    }
    Ok(follower.run().map_or(Outcome::Done, |run| end(run, follower.holder().is_some(), global)))
}

/// Whether a page can be shown and keys can be read.
fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
        && std::io::stdin().is_terminal()
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Prints changes until the run ends, nobody drives it, or a signal comes.
fn print_changes(follower: &mut Follower, global: &Global) -> Result<(), WatchError> {
    let signals = Signals::listen();
    let mut changes = Changes::default();
    loop {
        for change in changes.since(follower, now_millis()) {
            if global.json {
                println!("{}", change.json());
            } else {
                println!("{}", change.line());
            }
        }
        let is_over = follower.run().is_none_or(|run| run.state.is_final());
        if is_over || follower.holder().is_none() || signals.count() > 0 {
            return Ok(());
        }
        std::thread::sleep(POLL);
        follower.poll(&[])?;
    }
}

fn missing(run: Option<&str>) -> CliError {
    match run {
        Some(run) => CliError::input(format!("there is no run `{run}`"), "`cupola get runs` lists them"),
        None => CliError::input("there is no run yet", "`cupola apply SPEC` makes one"),
    }
}

fn end(run: &RunRow, is_driven: bool, global: &Global) -> Outcome {
    if !global.json && run.state == RunState::Running && !is_driven {
        println!("run {} has steps to run, but no process drives it; `cupola resume` goes on", run.id);
    } else if !global.json && !run.state.is_final() {
        println!("run {}: {}", run.id, run.state.as_str());
    }
    match run.state {
        RunState::Failed => Outcome::Failed,
        RunState::Cancelled | RunState::Interrupted => Outcome::Interrupted,
        RunState::Running | RunState::Paused | RunState::Succeeded => Outcome::Done,
    }
}

impl From<WatchError> for CliError {
    fn from(error: WatchError) -> Self {
        let class = match &error {
            WatchError::State(error) => error.class(),
            WatchError::Terminal(_) => ErrorClass::Transient,
        };
        Self::Other { message: error.to_string(), hint: error.hint().to_owned(), class }
    }
}
