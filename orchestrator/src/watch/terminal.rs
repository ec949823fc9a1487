//! The page on a terminal: reading state a few times a second, drawing where something changed, and giving the terminal back however it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyEventKind};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::draw::{Paint, Scene, draw};
use super::page::{Page, Wish};
use super::{Follower, WatchError};
use crate::audit::act_of_command;
use crate::run::{ControlRequest, ControlVerb, leave_request};
use crate::state::now_millis;

/// Between two looks at the state.
const TICK: Duration = Duration::from_millis(250);
/// How long a request may wait for the process that drives the run.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gives the terminal back when it goes. A panic's message would be lost on the page: ratatui's hook gives it back before that.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// A request that was left for the process that drives the run.
struct Pending {
    verb: ControlVerb,
    file: PathBuf,
    since: Instant,
}

/// Shows the page until the user leaves it or a signal comes. The run goes on either way.
pub fn show_page(follower: &mut Follower, cores: u32) -> Result<(), WatchError> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut registered = Vec::new();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        registered.push(signal_hook::flag::register(signal, Arc::clone(&stop))?);
    }
    let shown = run_page(follower, cores, &stop);
    for id in registered {
        signal_hook::low_level::unregister(id);
    }
    shown
}

fn run_page(follower: &mut Follower, cores: u32, stop: &AtomicBool) -> Result<(), WatchError> {
    // Before the page: one that came up halfway is taken back, too.
    let _restored = Restored;
    let mut terminal = ratatui::try_init()?;
    let (mut page, paint) = (Page::new(), Paint::of_environment());
    let mut pending: Option<Pending> = None;
    let (mut is_stale, mut second) = (true, 0);
    while !stop.load(Ordering::SeqCst) {
        is_stale |= follower.poll(&page.looked_at())?;
        is_stale |= look_after(&mut pending, &mut page);
        let before = page.step();
        page.settle(follower);
        if page.step() != before {
            follower.poll(&page.looked_at())?;
            is_stale = true;
        }
        let now = now_millis();
        // Times on the page go by the second while the run goes on.
        let is_over = follower.run().is_none_or(|run| run.state.is_final());
        is_stale |= !is_over && now / 1000 != second;
        if is_stale {
            second = now / 1000;
            let forecast = follower.forecast(cores, now);
            let scene = Scene { follower, forecast, cores, now_millis: now, paint };
            terminal.draw(|frame| draw(frame, &mut page, &scene))?;
            is_stale = false;
        }
        let mut wait = TICK;
        while event::poll(wait)? {
            wait = Duration::ZERO;
            is_stale = true;
            let Event::Key(key) = event::read()? else { continue };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            match page.key(key) {
                Wish::Nothing => {}
                Wish::Quit => return Ok(()),
                Wish::Ask(verb) => pending = ask(verb, follower, &mut page),
            }
        }
    }
    Ok(())
}

/// Leaves a request for the process that drives the run; says so where there is none.
fn ask(verb: ControlVerb, follower: &Follower, page: &mut Page) -> Option<Pending> {
    let run = follower.run()?;
    if run.state.is_final() {
        page.notice = format!("run {} has ended: {}", run.id, run.state.as_str());
        return None;
    }
    if follower.holder().is_none() {
        let command = verb.as_str();
        page.notice = format!("nobody drives run {} now; `cupola {command}` works without", run.id);
        if verb == ControlVerb::Pause {
            page.notice = format!("nobody drives run {} now, so there is nothing to pause", run.id);
        }
        return None;
    }
    let request =
        ControlRequest::new(verb, Some(run.id.clone()), None, act_of_command(verb.as_str(), "watch"));
    match leave_request(follower.dir(), &request) {
        Ok(file) => {
            page.notice = format!("{} is asked for …", verb.as_str());
            Some(Pending { verb, file, since: Instant::now() })
        }
        Err(error) => {
            page.notice = error.to_string();
            None
        }
    }
}

/// Sees whether a request was taken; gives whether that is news.
fn look_after(pending: &mut Option<Pending>, page: &mut Page) -> bool {
    let Some(asked) = pending else { return false };
    let verb = asked.verb.as_str();
    if !asked.file.exists() {
        page.notice = match asked.verb {
            ControlVerb::Cancel | ControlVerb::Pause => {
                format!("{verb}: under way; running steps save a checkpoint first")
            }
            ControlVerb::Resume | ControlVerb::Retry | ControlVerb::Promotion => format!("{verb}: under way"),
        };
    } else if asked.since.elapsed() > PATIENCE {
        // Nobody must find it later and stop a run that was not meant any more.
        let _ = std::fs::remove_file(&asked.file);
        page.notice = format!("{verb}: the process that holds the folder does not answer");
    } else {
        return false;
    }
    *pending = None;
    true
}
