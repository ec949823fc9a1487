//! `cupola watch`.

use std::time::Duration;

use clap::Args;

use super::{CliError, Global, Outcome};
use crate::run::Signals;
use crate::state::{RunState, RunView, holder, load_run, now_millis, read_state};
use crate::watch::{Display, DisplayMode};

const POLL: Duration = Duration::from_millis(400);

/// Arguments of `cupola watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The run; the newest where none is given.
    pub run: Option<String>,
    /// Plain lines also on a terminal.
    #[arg(long)]
    pub plain: bool,
}

/// Follows a run live, until it ends or until Ctrl-C, which leaves the run alone.
pub(super) fn run(args: &WatchArgs, global: &Global) -> Result<Outcome, CliError> {
    let dir = global.state_dir();
    let signals = Signals::listen();
    let mode = if args.plain { DisplayMode::Plain } else { DisplayMode::detect(global.json) };
    let mut display = Display::new(mode);
    let mut followed = args.run.clone();
    loop {
        let view =
            load_run(&read_state(&dir)?, followed.as_deref())?.ok_or_else(|| missing(followed.as_deref()))?;
        followed = Some(view.id.clone());
        let now = now_millis();
        display.update(&view, now);
        let driven = holder(&dir).is_some();
        if view.state.is_final() || !driven || signals.count() > 0 {
            display.finish(&view, now);
            return Ok(end(&view, driven, global));
        }
        std::thread::sleep(POLL);
    }
}

fn missing(run: Option<&str>) -> CliError {
    match run {
        Some(run) => CliError::input(format!("there is no run `{run}`"), "`cupola get runs` lists them"),
        None => CliError::input("there is no run yet", "`cupola apply SPEC` makes one"),
    }
}

fn end(view: &RunView, driven: bool, global: &Global) -> Outcome {
    if global.json {
        println!("{:#}", serde_json::json!({ "run": view }));
    } else if view.state == RunState::Running && !driven {
        println!("run {} has steps to run, but no process drives it; `cupola apply` goes on", view.id);
    } else {
        println!("run {}: {}", view.id, view.state.as_str());
    }
    match view.state {
        RunState::Failed => Outcome::Failed,
        RunState::Cancelled | RunState::Interrupted => Outcome::Interrupted,
        RunState::Running | RunState::Paused | RunState::Succeeded => Outcome::Done,
    }
}
